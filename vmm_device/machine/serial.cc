#include "vmm_device/machine/serial.h"

#include <algorithm>

#include "vmm_device/core/state_codec.h"

// Register layout: TL16C550C data sheet; numbering is the offset from the port base.
namespace clonesafe {
namespace {

constexpr std::size_t kReceiveMax = 64;
enum Offset : std::uint8_t {
  kData,
  kInterruptEnable,
  kInterruptId,
  kLineControl,
  kModemControl,
  kLineStatus,
  kModemStatus,
  kScratch
};
constexpr std::uint8_t kEnableReceive = 1, kEnableTransmit = 2;
constexpr std::uint8_t kIdNone = 1, kIdTransmit = 2, kIdReceive = 4, kIdFifo = 0xc0;
constexpr std::uint8_t kFifoEnable = 1, kFifoClearReceive = 2;
constexpr std::uint8_t kStatusReceived = 1, kStatusTransmitEmpty = 0x60;
constexpr std::uint8_t kModemReady = 0xb0;  // carrier, data set ready, clear to send

}  // namespace

void Serial::read(std::uint64_t offset, std::span<std::byte> data) {
  if (data.size() != 1) return;
  const std::scoped_lock lock(mutex_);
  data[0] = std::byte{read_register(offset)};
}

void Serial::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (data.size() != 1) return;
  const auto value = std::to_integer<std::uint8_t>(data[0]);
  // Sent outside the lock: the output may be slow, and receive() must not wait for it.
  bool send = false;
  {
    const std::scoped_lock lock(mutex_);
    send = offset == kData && !divisor_latch() && !loopback();
    if (!send) write_register(offset, value);
  }
  if (!send) return;
  output_(data);
  const std::scoped_lock lock(mutex_);
  transmit_interrupt_ = true;
  raise_if_pending();
}

std::uint8_t Serial::interrupt_id() const {
  const std::uint8_t fifo = (fifo_control_ & kFifoEnable) != 0 ? kIdFifo : 0;
  if ((interrupt_enable_ & kEnableReceive) != 0 && !received_.empty()) return fifo | kIdReceive;
  if ((interrupt_enable_ & kEnableTransmit) != 0 && transmit_interrupt_) return fifo | kIdTransmit;
  return fifo | kIdNone;
}

void Serial::raise_if_pending() {
  if ((interrupt_id() & kIdNone) == 0) line_.raise();
}

std::uint8_t Serial::read_register(std::uint64_t offset) {
  switch (offset) {
    case kData: {
      if (divisor_latch()) return static_cast<std::uint8_t>(divisor_);
      if (received_.empty()) return 0;
      const std::uint8_t value = received_.front();
      received_.pop_front();
      raise_if_pending();
      return value;
    }
    case kInterruptEnable:
      return divisor_latch() ? static_cast<std::uint8_t>(divisor_ >> 8) : interrupt_enable_;
    case kInterruptId: {
      const std::uint8_t id = interrupt_id();
      if ((id & 0x0f) == kIdTransmit) transmit_interrupt_ = false;
      return id;
    }
    case kLineControl:
      return line_control_;
    case kModemControl:
      return modem_control_;
    case kLineStatus:
      return static_cast<std::uint8_t>(kStatusTransmitEmpty |
                                       (received_.empty() ? 0 : kStatusReceived));
    case kModemStatus: {
      if (!loopback()) return kModemReady;
      // Loopback wires the outputs to the inputs: how a driver finds out what it talks to.
      const unsigned out = modem_control_;
      return static_cast<std::uint8_t>((out & 1) << 5 | (out & 2) << 3 | (out & 0x0c) << 4);
    }
    default:
      return scratch_;
  }
}

void Serial::write_register(std::uint64_t offset, std::uint8_t value) {
  switch (offset) {
    case kData:
      if (divisor_latch()) {
        divisor_ = static_cast<std::uint16_t>((divisor_ & 0xff00) | value);
      } else if (received_.size() < kReceiveMax) {  // loopback
        received_.push_back(value);
        raise_if_pending();
      }
      break;
    case kInterruptEnable:
      if (divisor_latch()) {
        divisor_ = static_cast<std::uint16_t>((divisor_ & 0x00ff) | value << 8);
        break;
      }
      interrupt_enable_ = value & 0x0f;
      // The transmitter is always empty: enabling its interrupt raises it.
      transmit_interrupt_ = (value & kEnableTransmit) != 0;
      raise_if_pending();
      break;
    case kInterruptId:  // FIFO control when written
      fifo_control_ = value & 0xc9;
      if ((value & kFifoClearReceive) != 0) received_.clear();
      break;
    case kLineControl:
      line_control_ = value;
      break;
    case kModemControl:
      modem_control_ = value & 0x1f;
      break;
    case kScratch:
      scratch_ = value;
      break;
    default:
      break;
  }
}

std::size_t Serial::receive(std::span<const std::byte> bytes) {
  const std::scoped_lock lock(mutex_);
  const std::size_t taken = std::min(bytes.size(), kReceiveMax - received_.size());
  for (const std::byte byte : bytes.first(taken))
    received_.push_back(std::to_integer<std::uint8_t>(byte));
  if (taken > 0) raise_if_pending();
  return taken;
}

std::vector<std::byte> Serial::save() const {
  const std::scoped_lock lock(mutex_);
  StateEncoder state;
  state.put(interrupt_enable_);
  state.put(fifo_control_);
  state.put(line_control_);
  state.put(modem_control_);
  state.put(scratch_);
  state.put(divisor_);
  state.put(static_cast<std::uint8_t>(transmit_interrupt_));
  const std::vector<std::uint8_t> waiting(received_.begin(), received_.end());
  state.put_bytes(std::as_bytes(std::span(waiting)));
  return state.take();
}

Status Serial::restore(std::span<const std::byte> bytes) {
  StateDecoder state("serial", bytes);
  const auto enable = state.get<std::uint8_t>();
  const auto fifo = state.get<std::uint8_t>();
  const auto control = state.get<std::uint8_t>();
  const auto modem = state.get<std::uint8_t>();
  const auto scratch = state.get<std::uint8_t>();
  const auto divisor = state.get<std::uint16_t>();
  const auto transmit = state.get<std::uint8_t>();
  const auto waiting = state.get_bytes(kReceiveMax);
  if (!waiting) return fail(waiting.error());  // a failure before this one leads to this one
  if (auto done = state.finish(); !done) return done;

  const std::scoped_lock lock(mutex_);
  interrupt_enable_ = *enable & 0x0f;
  fifo_control_ = *fifo & 0xc9;
  line_control_ = *control;
  modem_control_ = *modem & 0x1f;
  scratch_ = *scratch;
  divisor_ = *divisor;
  transmit_interrupt_ = *transmit != 0;
  received_.clear();
  for (const std::byte byte : *waiting) received_.push_back(std::to_integer<std::uint8_t>(byte));
  raise_if_pending();
  return {};
}

}  // namespace clonesafe
