#include "vmm_device/kvm/cpuid.h"

#include <asm/kvm_para.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "vmm_device/kvm/cpu_features.h"
#include "vmm_device/kvm/cpu_template.h"

namespace clonesafe::kvm {
namespace {

void clear(CpuidTable& table, const CpuidWord& word, std::uint32_t bits) {
  for (kvm_cpuid_entry2& entry : table) {
    if (entry.function == word.leaf && entry.index == word.index) field(entry, word.where) &= ~bits;
  }
}

// One package; core and APIC ids are vCPU indexes; no threads.
void set_topology(kvm_cpuid_entry2& entry, std::uint32_t index, std::uint32_t cpus) {
  const auto id_bits = static_cast<std::uint32_t>(std::bit_width(cpus - 1));
  switch (entry.function) {
    case 1:
      entry.ebx = (entry.ebx & 0x0000ffffU) | (index << 24) | (cpus << 16);
      if (cpus > 1)
        entry.edx |= 1U << 28;
      else
        entry.edx &= ~(1U << 28);
      break;
    case 4:
      // Cores in the package; caches above the second level are shared by all of them.
      entry.eax &= 0x3fffU;
      if ((entry.eax & 0x1f) != 0) {
        entry.eax |= ((1U << id_bits) - 1) << 26;
        if (((entry.eax >> 5) & 7) >= 3) entry.eax |= ((1U << id_bits) - 1) << 14;
      }
      break;
    case 0xb:
    case 0x1f:
      // Level 0: threads (one), level 1: cores, then none.
      entry.edx = index;
      entry.eax = entry.ebx = 0;
      entry.ecx = entry.index;
      if (entry.index == 0) {
        entry.ebx = 1;
        entry.ecx |= 1U << 8;
      } else if (entry.index == 1) {
        entry.eax = id_bits;
        entry.ebx = cpus;
        entry.ecx |= 2U << 8;
      }
      break;
    case 0x80000008:
      entry.ecx = (entry.ecx & 0xffff0000U) | (id_bits << 12) | (cpus - 1);
      break;
    case 0x8000001d:
      entry.eax &= 0x3fffU;
      if ((entry.eax & 0x1f) != 0 && ((entry.eax >> 5) & 7) >= 3) entry.eax |= (cpus - 1) << 14;
      break;
    case 0x8000001e:
      entry.eax = index;
      entry.ebx = index;
      entry.ecx = 0;
      break;
    default:
      break;
  }
}

}  // namespace

Status check_feature_names(std::span<const std::string> names) {
  for (const std::string& name : names) {
    if (feature_named(name) != nullptr) continue;
    std::string known;
    for (const CpuFeature& feature : cpu_features()) known += std::string(" ") + feature.name;
    return fail("unknown CPU feature '" + name + "'; known:" + known);
  }
  return {};
}

Result<CpuidTable> guest_cpuid(std::span<const kvm_cpuid_entry2> supported, std::uint32_t index,
                               std::uint32_t cpus, std::span<const std::string> masked,
                               std::string_view cpu_template) {
  if (auto known = check_feature_names(masked); !known) return fail(known.error());
  CpuidTable table(supported.begin(), supported.end());
  for (kvm_cpuid_entry2& entry : table) {
    set_topology(entry, index, cpus);
    switch (entry.function) {
      case 1:
        entry.ecx |= 1U << 31;    // a hypervisor is present
        entry.ecx |= 1U << 24;    // TSC deadline timer: KVM emulates it on every host
        entry.ecx &= ~(1U << 5);  // VMX: no nested state in a snapshot
        break;
      case 7:
        if (entry.index == 0) entry.ebx &= ~(1U << 2);  // SGX
        break;
      case 6:           // power management
      case 0xa:         // performance monitor
      case 0x8000000a:  // SVM
      case 0x80000022:  // AMD performance monitor
        entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
        break;
      case 0x80000001:
        entry.ecx &= ~(1U << 2);                  // SVM
        entry.ecx &= ~((1U << 23) | (1U << 24));  // AMD performance counters
        break;
      case 0x40000001:
        // KVM would write to guest memory on its own, also in a clone that was never asked.
        entry.eax &= ~((1U << KVM_FEATURE_ASYNC_PF) | (1U << KVM_FEATURE_STEAL_TIME) |
                       (1U << KVM_FEATURE_ASYNC_PF_VMEXIT) | (1U << KVM_FEATURE_ASYNC_PF_INT));
        break;
      default:
        break;
    }
  }
  if (auto limited = apply_template(cpu_template, table); !limited) return fail(limited.error());
  for (const std::string& name : masked) {
    const CpuFeature& feature = *feature_named(name);
    clear(table, feature.word, 1U << feature.bit);
  }
  return table;
}

Status check_compatible(std::span<const kvm_cpuid_entry2> saved,
                        std::span<const kvm_cpuid_entry2> supported) {
  const std::string from = cpu_vendor(saved), here = cpu_vendor(supported);
  if (from != here)
    return fail("the snapshot was taken on a CPU of " + from + ", this host's is of " + here);
  std::string missing;
  int count = 0;
  for (const CpuidWord& word : feature_words()) {
    std::uint32_t offered = value_of(supported, word);
    // Not in the supported table, but always there: TSC deadline timer, hypervisor, HTT and the
    // OS's own bits, which mirror CR4.
    using enum CpuidRegister;
    if (word == CpuidWord{1, 0, kEcx}) offered |= (1U << 24) | (1U << 31) | (1U << 27);
    if (word == CpuidWord{1, 0, kEdx}) offered |= 1U << 28;
    if (word == CpuidWord{7, 0, kEcx}) offered |= 1U << 4;
    const std::uint32_t lacking = value_of(saved, word) & ~offered;
    for (int bit = 0; bit < 32; ++bit) {
      if ((lacking >> bit & 1) == 0) continue;
      if (++count <= 16) missing += (missing.empty() ? "" : ", ") + feature_name(word, bit);
    }
  }
  if (count > 16) missing += " and " + std::to_string(count - 16) + " more";
  if (count > 0)
    return fail("this host's CPU (" + cpu_brand(supported) +
                ") lacks what the snapshot uses: " + missing);
  return {};
}

std::string cpu_vendor(std::span<const kvm_cpuid_entry2> table) {
  for (const kvm_cpuid_entry2& entry : table) {
    if (entry.function != 0) continue;
    char text[12];
    std::memcpy(text, &entry.ebx, 4);
    std::memcpy(text + 4, &entry.edx, 4);
    std::memcpy(text + 8, &entry.ecx, 4);
    return std::string(text, strnlen(text, sizeof text));
  }
  return {};
}

std::string cpu_brand(std::span<const kvm_cpuid_entry2> table) {
  std::string brand;
  for (std::uint32_t leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
    for (const kvm_cpuid_entry2& entry : table) {
      if (entry.function != leaf) continue;
      const std::array<std::uint32_t, 4> words = {entry.eax, entry.ebx, entry.ecx, entry.edx};
      const auto* text = reinterpret_cast<const char*>(words.data());
      brand.append(text, strnlen(text, 16));
    }
  }
  while (!brand.empty() && brand.back() == ' ') brand.pop_back();
  brand.erase(0, brand.find_first_not_of(' '));
  return brand;
}

}  // namespace clonesafe::kvm
