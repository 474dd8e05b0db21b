#ifndef CLONESAFE_VMM_DEVICE_KVM_CPU_FEATURES_H_
#define CLONESAFE_VMM_DEVICE_KVM_CPU_FEATURES_H_

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

// The features of a CPU by name, and where CPUID has them.
namespace clonesafe::kvm {

enum class CpuidRegister { kEax, kEbx, kEcx, kEdx };

struct CpuidWord {
  std::uint32_t leaf;
  std::uint32_t index;
  CpuidRegister where;
  bool operator==(const CpuidWord&) const = default;
};

struct CpuFeature {
  const char* name;  // as /proc/cpuinfo has it; KVM's own start with kvm_
  CpuidWord word;
  int bit;
};

std::span<const CpuFeature> cpu_features();
// Words whose bits are features: what must be there on a host that a snapshot is restored on.
std::span<const CpuidWord> feature_words();

const CpuFeature* feature_named(std::string_view name);  // null: unknown
// Its name, or its place if it has none.
std::string feature_name(const CpuidWord& word, int bit);

std::uint32_t& field(kvm_cpuid_entry2& entry, CpuidRegister where);
// 0 where the table doesn't have the word.
std::uint32_t value_of(std::span<const kvm_cpuid_entry2> table, const CpuidWord& word);
bool has_feature(std::span<const kvm_cpuid_entry2> table, std::string_view name);

}  // namespace clonesafe::kvm

#endif  // CLONESAFE_VMM_DEVICE_KVM_CPU_FEATURES_H_
