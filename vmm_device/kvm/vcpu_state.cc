#include "vmm_device/kvm/vcpu_state.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace clonesafe::kvm {
namespace {

constexpr std::uint32_t kMsrTscDeadline = 0x6e0;
constexpr std::uint32_t kMsrKvmFirst = 0x4b564d00, kMsrKvmLast = 0x4b564dff;
// KVM lists the MSRs of Hyper-V's interface too; the guest is not offered it.
constexpr std::uint32_t kMsrHyperVFirst = 0x40000000, kMsrHyperVLast = 0x400001ff;

constexpr std::uint32_t kMaxCpuidEntries = 256;
constexpr std::uint32_t kMaxMsrs = 4096;
constexpr std::uint32_t kMaxXsave = 1 << 16;

// KVM refuses some MSRs that it lists, whatever the value. That loses nothing if this vCPU already
// has the value; nor if it has no such MSR (another kernel, another stepping) and the guest had
// nothing in it.
Status set_msrs_or_equal(const Vcpu& vcpu, std::span<const kvm_msr_entry> entries) {
  if (vcpu.set_msrs(entries)) return {};
  for (const kvm_msr_entry& entry : entries) {
    auto set = vcpu.set_msrs({&entry, 1});
    if (set) continue;
    auto has = vcpu.get_msrs({&entry.index, 1});
    if (!has) return fail(has.error());
    if (has->empty() && entry.data == 0) continue;
    if (has->size() != 1 || has->front().data != entry.data) return set;
  }
  return {};
}

template <typename T>
Status read_into(const Vcpu& vcpu, Request request, T& value) {
  auto got = vcpu.get<T>(request);
  if (!got) return fail(got.error());
  value = *got;
  return {};
}

}  // namespace

std::vector<std::uint32_t> ordered_msrs(std::span<const std::uint32_t> kvm_list) {
  std::vector<std::uint32_t> result(kvm_list.begin(), kvm_list.end());
  std::erase_if(result, [](std::uint32_t index) {
    return index >= kMsrHyperVFirst && index <= kMsrHyperVLast;
  });
  result.push_back(kMsrTscDeadline);
  for (std::uint32_t index = kMsrKvmFirst; index <= kMsrKvmLast; ++index) result.push_back(index);
  std::ranges::sort(result, {}, [](std::uint32_t index) {
    return std::pair(index == kMsrTsc ? 0 : index == kMsrTscDeadline ? 2 : 1, index);
  });
  const auto repeated = std::ranges::unique(result);
  result.erase(repeated.begin(), repeated.end());
  return result;
}

Result<VcpuState> save_vcpu(const Vcpu& vcpu, const CpuidTable& cpuid,
                            std::span<const std::uint32_t> msr_indexes, std::size_t xsave_size) {
  VcpuState state;
  state.cpuid = cpuid;
  // The run state first: reading it makes KVM take pending INIT and SIPI events, which change what
  // follows. Events last: reading registers may raise some.
  const Status steps[] = {
      read_into(vcpu, CLONESAFE_KVM(KVM_GET_MP_STATE), state.run_state),
      read_into(vcpu, CLONESAFE_KVM(KVM_GET_REGS), state.registers),
      read_into(vcpu, CLONESAFE_KVM(KVM_GET_SREGS2), state.system_registers),
      read_into(vcpu, CLONESAFE_KVM(KVM_GET_XCRS), state.extended_control),
      read_into(vcpu, CLONESAFE_KVM(KVM_GET_DEBUGREGS), state.debug_registers),
      read_into(vcpu, CLONESAFE_KVM(KVM_GET_LAPIC), state.local_apic),
  };
  for (const Status& step : steps) {
    if (!step) return fail(step.error());
  }
  auto xsave = vcpu.get_xsave(xsave_size);
  if (!xsave) return fail(xsave.error());
  state.xsave = std::move(*xsave);
  auto khz = vcpu.tsc_khz();
  if (!khz) return fail(khz.error());
  state.tsc_khz = *khz;
  auto msrs = vcpu.get_msrs(msr_indexes);
  if (!msrs) return fail(msrs.error());
  state.msrs = std::move(*msrs);
  if (auto read = read_into(vcpu, CLONESAFE_KVM(KVM_GET_VCPU_EVENTS), state.events); !read)
    return fail(read.error());
  return state;
}

std::optional<std::uint64_t> saved_tsc(const VcpuState& state) {
  const auto found = std::ranges::find(state.msrs, kMsrTsc, &kvm_msr_entry::index);
  if (found == state.msrs.end()) return std::nullopt;
  return found->data;
}

void settle_time(VcpuState& state, std::optional<std::uint64_t> tsc) {
  for (kvm_msr_entry& entry : state.msrs) {
    if (entry.index == kMsrTsc && tsc) entry.data = *tsc;
  }
  const auto now = saved_tsc(state);
  for (kvm_msr_entry& entry : state.msrs) {
    if (entry.index == kMsrTscDeadline && entry.data == 0 && now) entry.data = *now;
  }
}

Status restore_vcpu(const Vcpu& vcpu, const VcpuState& state, std::size_t xsave_size,
                    bool tsc_is_set) {
  // System registers bring the APIC base, which the local APIC's registers depend on, and XCR0
  // decides what XSAVE takes. MP state last: with it the vCPU is whole.
  if (auto set = vcpu.set(CLONESAFE_KVM(KVM_SET_SREGS2), state.system_registers); !set) return set;
  if (auto set = vcpu.set(CLONESAFE_KVM(KVM_SET_XCRS), state.extended_control); !set) return set;
  if (auto set = vcpu.set_xsave(state.xsave, xsave_size); !set) return set;
  if (auto set = vcpu.set(CLONESAFE_KVM(KVM_SET_REGS), state.registers); !set) return set;
  if (auto set = vcpu.set(CLONESAFE_KVM(KVM_SET_DEBUGREGS), state.debug_registers); !set)
    return set;
  if (auto set = vcpu.set(CLONESAFE_KVM(KVM_SET_LAPIC), state.local_apic); !set) return set;
  std::vector<kvm_msr_entry> msrs = state.msrs;
  if (tsc_is_set)
    std::erase_if(msrs, [](const kvm_msr_entry& entry) { return entry.index == kMsrTsc; });
  if (auto set = set_msrs_or_equal(vcpu, msrs); !set) return set;
  if (auto set = vcpu.set(CLONESAFE_KVM(KVM_SET_VCPU_EVENTS), state.events); !set) return set;
  return vcpu.set(CLONESAFE_KVM(KVM_SET_MP_STATE), state.run_state);
}

void encode(StateEncoder& encoder, const VcpuState& state) {
  encoder.put(static_cast<std::uint32_t>(state.cpuid.size()));
  for (const kvm_cpuid_entry2& entry : state.cpuid) encoder.put_struct(entry);
  encoder.put(state.tsc_khz);
  encoder.put_struct(state.run_state);
  encoder.put_struct(state.registers);
  encoder.put_struct(state.system_registers);
  encoder.put_struct(state.extended_control);
  encoder.put_bytes(state.xsave);
  encoder.put_struct(state.debug_registers);
  encoder.put_struct(state.local_apic);
  encoder.put(static_cast<std::uint32_t>(state.msrs.size()));
  for (const kvm_msr_entry& entry : state.msrs) {
    encoder.put(static_cast<std::uint32_t>(entry.index));
    encoder.put(static_cast<std::uint64_t>(entry.data));
  }
  encoder.put_struct(state.events);
}

namespace {

template <typename T>
bool take(StateDecoder& decoder, T& value, Status& status) {
  auto got = decoder.get_struct<T>();
  if (!got) {
    status = fail(got.error());
    return false;
  }
  value = *got;
  return true;
}

Result<std::uint32_t> get_count(StateDecoder& decoder, std::uint32_t max, const char* what) {
  auto count = decoder.get<std::uint32_t>();
  if (count && *count > max)
    return decoder.corrupt(std::to_string(*count) + " " + what + ", at most " +
                           std::to_string(max));
  return count;
}

}  // namespace

Result<VcpuState> decode_vcpu(StateDecoder& decoder) {
  VcpuState state;
  Status status;
  auto count = get_count(decoder, kMaxCpuidEntries, "CPUID entries");
  if (!count) return fail(count.error());
  for (std::uint32_t i = 0; i < *count; ++i) {
    if (!take(decoder, state.cpuid.emplace_back(), status)) return fail(status.error());
  }
  auto khz = decoder.get<std::uint32_t>();
  if (!khz) return fail(khz.error());
  state.tsc_khz = *khz;
  if (!take(decoder, state.run_state, status) || !take(decoder, state.registers, status) ||
      !take(decoder, state.system_registers, status) ||
      !take(decoder, state.extended_control, status))
    return fail(status.error());
  auto xsave = decoder.get_bytes(kMaxXsave);
  if (!xsave) return fail(xsave.error());
  if (xsave->size() < kXsaveSize) return decoder.corrupt("an XSAVE area that is too small");
  state.xsave.assign(xsave->begin(), xsave->end());
  if (!take(decoder, state.debug_registers, status) || !take(decoder, state.local_apic, status))
    return fail(status.error());
  count = get_count(decoder, kMaxMsrs, "MSRs");
  if (!count) return fail(count.error());
  for (std::uint32_t i = 0; i < *count; ++i) {
    auto index = decoder.get<std::uint32_t>();
    auto data = decoder.get<std::uint64_t>();
    if (!data) return fail(data.error());  // it fails if `index` did
    state.msrs.push_back({.index = *index, .reserved = 0, .data = *data});
  }
  if (!take(decoder, state.events, status)) return fail(status.error());
  if (auto done = decoder.finish(); !done) return fail(done.error());
  return state;
}

}  // namespace clonesafe::kvm
