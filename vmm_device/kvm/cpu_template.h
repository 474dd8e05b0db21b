#ifndef CLONESAFE_VMM_DEVICE_KVM_CPU_TEMPLATE_H_
#define CLONESAFE_VMM_DEVICE_KVM_CPU_TEMPLATE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/kvm/cpuid.h"

// What is left of a host's CPU so that a snapshot moves between hosts of one vendor: a named level
// of the x86-64 psABI, and beside it only what every host that reaches the level has, and the
// controls against speculation, which microcode gives to all.
//
// A template names what a guest may see; what isn't named is hidden, also what is yet to be
// invented. It decides at the machine's start only: a snapshot has the resulting CPUID.
namespace clonesafe::kvm {

// "host" (all that KVM offers), "x86-64-v2", "x86-64-v3".
std::vector<std::string> cpu_templates();

// Hides in `table`, one vCPU's, what the template doesn't name. Refuses an unknown template, and a
// host that lacks a feature of the level.
Status apply_template(std::string_view name, CpuidTable& table);

// Those of `indexes` that a guest with this CPUID can have something in: without those of features
// that it isn't shown, whose values are the host's and may be refused on another one.
std::vector<std::uint32_t> visible_msrs(std::span<const std::uint32_t> indexes,
                                        std::span<const kvm_cpuid_entry2> table);

}  // namespace clonesafe::kvm

#endif  // CLONESAFE_VMM_DEVICE_KVM_CPU_TEMPLATE_H_
