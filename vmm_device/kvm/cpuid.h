#ifndef CLONESAFE_VMM_DEVICE_KVM_CPUID_H_
#define CLONESAFE_VMM_DEVICE_KVM_CPUID_H_

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"

// What a guest is shown of the CPU. No KVM calls in here: tables in, tables out.
namespace clonesafe::kvm {

using CpuidTable = std::vector<kvm_cpuid_entry2>;

// Refuses a name that --cpu-mask doesn't know, and lists those it knows.
Status check_feature_names(std::span<const std::string> names);

// The table of vCPU `index` of `cpus`, from what the host supports: one package of `cpus` cores
// whose APIC ids are their indexes, TSC deadline timer and hypervisor bits set, and removed what a
// snapshot can't carry or a clone must not keep: nested virtualisation, the performance monitor,
// asynchronous page faults and steal time (both write guest memory behind the guest's back), and
// what the template (cpu_template.h) hides, and the features in `masked`.
Result<CpuidTable> guest_cpuid(std::span<const kvm_cpuid_entry2> supported, std::uint32_t index,
                               std::uint32_t cpus, std::span<const std::string> masked,
                               std::string_view cpu_template = "host");

// Refuses a saved table that asks for more than the host supports; the error names the vendor or
// the missing features.
Status check_compatible(std::span<const kvm_cpuid_entry2> saved,
                        std::span<const kvm_cpuid_entry2> supported);

// "GenuineIntel", "AuthenticAMD"; empty without leaf 0.
std::string cpu_vendor(std::span<const kvm_cpuid_entry2> table);
// Leaves 0x80000002 to 4, trimmed.
std::string cpu_brand(std::span<const kvm_cpuid_entry2> table);

}  // namespace clonesafe::kvm

#endif  // CLONESAFE_VMM_DEVICE_KVM_CPUID_H_
