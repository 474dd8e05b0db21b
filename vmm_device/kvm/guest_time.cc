#include "vmm_device/kvm/guest_time.h"

#include <limits>
#include <string>

#include "vmm_device/core/state_codec.h"

namespace clonesafe::kvm {
namespace {

// KVM's own (its module parameter tsc_tolerance_ppm).
constexpr std::uint64_t kTolerancePpm = 250;
constexpr int kReadings = 4;

Result<std::uint64_t> read_clock(const Vm& vm) {
  auto clock = vm.get<kvm_clock_data>(CLONESAFE_KVM(KVM_GET_CLOCK));
  if (!clock) return fail(clock.error());
  return static_cast<std::uint64_t>(clock->clock);
}

Result<Instant> now_on(const Vm& vm, const Vcpu& vcpu) {
  return read_instant([&] { return read_tsc(vcpu); }, [&] { return read_clock(vm); });
}

}  // namespace

Result<std::uint64_t> read_tsc(const Vcpu& vcpu) {
  auto values = vcpu.get_msrs({&kMsrTsc, 1});
  if (!values) return fail(values.error());
  if (values->size() != 1) return fail("KVM_GET_MSRS on " + vcpu.name() + ": no TSC");
  return values->front().data;
}

Result<Instant> read_instant(const std::function<Result<std::uint64_t>()>& read_tsc,
                             const std::function<Result<std::uint64_t>()>& read_clock) {
  Instant best;
  std::uint64_t narrowest = std::numeric_limits<std::uint64_t>::max();
  auto before = read_tsc();
  if (!before) return fail(before.error());
  for (int i = 0; i < kReadings; ++i) {
    auto clock = read_clock();
    if (!clock) return fail(clock.error());
    auto after = read_tsc();
    if (!after) return fail(after.error());
    if (const std::uint64_t width = *after - *before; width < narrowest) {
      narrowest = width;
      best = {.tsc = *before + width / 2, .clock_ns = *clock};
    }
    before = after;
  }
  return best;
}

Result<GuestTime> read_time(const Vm& vm, std::span<const Vcpu> vcpus) {
  auto now = now_on(vm, vcpus.front());
  if (!now) return fail(now.error());
  GuestTime time{.clock_ns = now->clock_ns, .tsc = {}};
  if (!vcpus.front().has_tsc_offset()) return time;
  auto first = vcpus.front().tsc_offset();
  if (!first) return fail(first.error());
  for (const Vcpu& vcpu : vcpus) {
    auto offset = vcpu.tsc_offset();
    if (!offset) return fail(offset.error());
    time.tsc.push_back(now->tsc + (*offset - *first));
  }
  return time;
}

Result<bool> set_time(const Vm& vm, std::span<const Vcpu> vcpus, const GuestTime& time) {
  kvm_clock_data clock{};
  clock.clock = time.clock_ns;
  if (auto set = vm.set(CLONESAFE_KVM(KVM_SET_CLOCK), clock); !set) return fail(set.error());
  const Vcpu& first = vcpus.front();
  if (time.tsc.empty() || !first.has_tsc_offset()) return false;

  auto now = now_on(vm, first);
  if (!now) return fail(now.error());
  auto offset = first.tsc_offset();
  if (!offset) return fail(offset.error());
  now->tsc -= *offset;
  auto khz = first.tsc_khz();
  if (!khz) return fail(khz.error());
  const auto offsets = offsets_after(time, *now, *khz);
  for (std::size_t i = 0; i < vcpus.size(); ++i) {
    if (auto set = vcpus[i].set_tsc_offset(offsets[i]); !set) return fail(set.error());
  }
  return true;
}

std::vector<std::uint64_t> offsets_after(const GuestTime& saved, const Instant& now,
                                         std::uint32_t khz) {
  // From the set clock to its first reading: microseconds. None if it was read as earlier.
  const std::uint64_t elapsed_ns =
      now.clock_ns > saved.clock_ns ? now.clock_ns - saved.clock_ns : 0;
  const auto elapsed =
      static_cast<std::uint64_t>(static_cast<unsigned __int128>(elapsed_ns) * khz / 1'000'000u);
  std::vector<std::uint64_t> offsets;
  for (const std::uint64_t tsc : saved.tsc) offsets.push_back(tsc + elapsed - now.tsc);
  return offsets;
}

std::vector<std::byte> encode_clock(const GuestTime& time) {
  StateEncoder state;
  state.put(time.clock_ns);
  return state.take();
}

Result<std::uint64_t> decode_clock(std::span<const std::byte> bytes) {
  StateDecoder state("clock", bytes);
  auto nanoseconds = state.get<std::uint64_t>();
  if (!nanoseconds) return fail(nanoseconds.error());
  // KVM takes any number, and a guest that counts on in signed nanoseconds then hangs.
  if (*nanoseconds > std::numeric_limits<std::int64_t>::max())
    return state.corrupt("a clock that has run for " + std::to_string(*nanoseconds) + " ns");
  if (auto done = state.finish(); !done) return fail(done.error());
  return *nanoseconds;
}

Status check_tsc_frequency(std::uint32_t guest_khz, std::uint32_t host_khz, bool can_scale) {
  if (guest_khz == 0) return fail("the snapshot's TSC runs at 0 kHz");
  const std::uint64_t difference =
      guest_khz > host_khz ? guest_khz - host_khz : host_khz - guest_khz;
  if (can_scale || difference * 1'000'000u <= std::uint64_t{host_khz} * kTolerancePpm) return {};
  return fail("the guest's TSC runs at " + std::to_string(guest_khz) + " kHz, this host's at " +
              std::to_string(host_khz) + " kHz, and its processor can't scale it");
}

}  // namespace clonesafe::kvm
