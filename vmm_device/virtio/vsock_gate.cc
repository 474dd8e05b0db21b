#include "vmm_device/virtio/vsock_gate.h"

#include <algorithm>
#include <span>
#include <string>

namespace clonesafe::virtio {
namespace {

// Connections being opened that a snapshot tells of.
constexpr std::uint32_t kMaxHeld = 4096;

}  // namespace

// The driver gives the event's buffer back, and only then moves the index.
Result<bool> VsockGate::pass(Queue& events, Chain& chain) {
  if (state_ == State::kEventPending) {
    auto popped = events.pop(chain);
    if (!popped) return fail(std::move(popped).error());
    if (!*popped) return false;
    const std::uint32_t event = kVsockEventTransportReset;
    if (!chain.write(std::as_bytes(std::span<const std::uint32_t, 1>(&event, 1)))) {
      return fail("an event buffer without room for an event");
    }
    index_ = events.available_index();
    events.push(chain, sizeof event);
    state_ = State::kEventDelivered;
    return false;
  }
  if (state_ == State::kEventDelivered && events.available_index() == index_) return false;
  state_ = State::kOpen;
  return true;
}

void VsockGate::hold(const VsockHeader& reset) {
  if (held_.size() < kMaxHeld) held_.push_back(reset);
}

void VsockGate::save(StateEncoder& encoder, const std::vector<VsockHeader>& more) const {
  std::vector<VsockHeader> all = held_;
  all.insert(all.end(), more.begin(), more.end());
  all.resize(std::min<std::size_t>(all.size(), kMaxHeld));
  encoder.put(state_);
  encoder.put(index_);
  encoder.put(static_cast<std::uint32_t>(all.size()));
  for (const VsockHeader& header : all) encoder.put_struct(header);
}

Status VsockGate::restore(StateDecoder& decoder) {
  auto state = decoder.get<std::uint8_t>();
  if (!state) return fail(std::move(state).error());
  auto index = decoder.get<std::uint16_t>();
  if (!index) return fail(std::move(index).error());
  auto count = decoder.get<std::uint32_t>();
  if (!count) return fail(std::move(count).error());
  if (*state > static_cast<std::uint8_t>(State::kEventDelivered)) {
    return decoder.corrupt("vsock gate " + std::to_string(*state));
  }
  if (*count > kMaxHeld) return decoder.corrupt("too many vsock connections");
  for (std::uint32_t i = 0; i < *count; ++i) {
    auto header = decoder.get_struct<VsockHeader>();
    if (!header) return fail(std::move(header).error());
    // Nothing but what it is for goes to the guest, whatever the file says.
    header->length = 0;
    header->operation = VsockOperation::kReset;
    held_.push_back(*header);
  }
  state_ = static_cast<State>(*state);
  index_ = *index;
  return {};
}

}  // namespace clonesafe::virtio
