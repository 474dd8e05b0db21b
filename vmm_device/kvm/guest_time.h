#ifndef CLONESAFE_VMM_DEVICE_KVM_GUEST_TIME_H_
#define CLONESAFE_VMM_DEVICE_KVM_GUEST_TIME_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/kvm/kvm.h"

// A guest's clocks: its KVM clock and its vCPUs' TSCs, read and set as of one instant, so that
// after a restore they all go on from there, and stand to each other as they did. The guest doesn't
// see how long the snapshot lay (docs/machine.md, "Time after a restore"). All vCPUs are parked.
//
// A TSC is set by its offset to the host's, which is exact. Writing the MSR isn't: KVM guesses from
// the value and the time since the last write whether TSCs are meant to be equal.
namespace clonesafe::kvm {

struct GuestTime {
  std::uint64_t clock_ns = 0;  // the KVM clock
  // Each vCPU's TSC at the instant when the clock showed that. Empty on a host whose KVM has no
  // offsets (before Linux 5.16).
  std::vector<std::uint64_t> tsc;
};

Result<std::uint64_t> read_tsc(const Vcpu& vcpu);
Result<GuestTime> read_time(const Vm& vm, std::span<const Vcpu> vcpus);
// With `time.tsc` empty, or on a host without offsets, only the clock is set, and the TSCs are left
// to their MSRs: false then. The vCPUs' frequencies have been set, their MSRs not yet.
Result<bool> set_time(const Vm& vm, std::span<const Vcpu> vcpus, const GuestTime& time);

// The clock's section of a snapshot. The bytes are untrusted.
std::vector<std::byte> encode_clock(const GuestTime& time);
Result<std::uint64_t> decode_clock(std::span<const std::byte> bytes);

// Refuses a snapshot of a guest whose TSC runs at `guest_khz` on a host where it would run at
// `host_khz`, unless the processor can scale it. What KVM itself takes for equal (250 ppm) is
// equal.
Status check_tsc_frequency(std::uint32_t guest_khz, std::uint32_t host_khz, bool can_scale);

// One instant, seen by both clocks: the clock is read between two readings of the TSC, several
// times, and the closest pair counts; `tsc` is in its middle.
struct Instant {
  std::uint64_t tsc = 0;
  std::uint64_t clock_ns = 0;
};
Result<Instant> read_instant(const std::function<Result<std::uint64_t>()>& read_tsc,
                             const std::function<Result<std::uint64_t>()>& read_clock);

// The TSC offsets that let the vCPUs go on as `saved`, when at `now` the clock, which was set to
// the saved value before, shows `now.clock_ns`, and a TSC with offset 0 would show `now.tsc`.
std::vector<std::uint64_t> offsets_after(const GuestTime& saved, const Instant& now,
                                         std::uint32_t khz);

}  // namespace clonesafe::kvm

#endif  // CLONESAFE_VMM_DEVICE_KVM_GUEST_TIME_H_
