#ifndef CLONESAFE_TESTS_UNIT_KVM_RECORDED_CPUID_H_
#define CLONESAFE_TESTS_UNIT_KVM_RECORDED_CPUID_H_

#include <vector>

#include "vmm_device/kvm/cpuid.h"

namespace clonesafe::kvm {

struct RecordedLeaf {
  std::uint32_t function, index, eax, ebx, ecx, edx;
};

inline CpuidTable table_of(std::span<const RecordedLeaf> leaves) {
  CpuidTable table;
  for (const RecordedLeaf& leaf : leaves) {
    kvm_cpuid_entry2 entry{};
    entry.function = leaf.function;
    entry.index = leaf.index;
    entry.eax = leaf.eax;
    entry.ebx = leaf.ebx;
    entry.ecx = leaf.ecx;
    entry.edx = leaf.edx;
    table.push_back(entry);
  }
  return table;
}

// Read with the CPUID instruction on an AMD processor of family 1Ah (Zen 5), in a virtual machine;
// leaf 0x40000001 as KVM of Linux 6.12 offers it.
inline CpuidTable zen5() {
  static constexpr RecordedLeaf kLeaves[] = {
      {0x0, 0, 0xd, 0x68747541, 0x444d4163, 0x69746e65},
      {0x1, 0, 0xb00f21, 0x36fe0800, 0xfed83203, 0x178bfbff},
      {0x6, 0, 0x4, 0x0, 0x0, 0x0},
      {0x7, 0, 0x1, 0xf1bb03a9, 0x18005f42, 0x110},
      {0x7, 1, 0x30, 0x0, 0x0, 0x0},
      {0xd, 0, 0xe7, 0x980, 0x980, 0x0},
      {0xd, 1, 0x7, 0x980, 0x0, 0x0},
      {0xd, 2, 0x100, 0x240, 0x0, 0x0},
      {0xd, 5, 0x40, 0x340, 0x0, 0x0},
      {0xd, 6, 0x200, 0x380, 0x0, 0x0},
      {0xd, 7, 0x400, 0x580, 0x0, 0x0},
      {0x40000001, 0, 0x0100fefb, 0x0, 0x0, 0x0},
      {0x80000000, 0, 0x80000021, 0x68747541, 0x444d4163, 0x69746e65},
      {0x80000001, 0, 0xb00f21, 0x40000000, 0x440001f1, 0x25d3fbff},
      {0x80000007, 0, 0x0, 0x0, 0x0, 0x100},
      {0x80000008, 0, 0x3030, 0x20000005, 0x0, 0x0},
      {0x8000001a, 0, 0xa, 0x0, 0x0, 0x0},
      {0x80000021, 0, 0x411d8c47, 0x0, 0x0, 0x0},
  };
  return table_of(kLeaves);
}

}  // namespace clonesafe::kvm

#endif  // CLONESAFE_TESTS_UNIT_KVM_RECORDED_CPUID_H_
