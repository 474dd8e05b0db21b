#include "vmm_device/kvm/cpu_template.h"

#include <algorithm>
#include <array>

#include "vmm_device/kvm/cpu_features.h"

namespace clonesafe::kvm {
namespace {

using Names = std::span<const char* const>;

// x86-64 psABI, "Micro-Architecture Levels". v1 is what every x86-64 has.
constexpr const char* kV2[] = {"pni", "ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm"};
constexpr const char* kV3[] = {"avx", "avx2", "bmi1",  "bmi2", "f16c",
                               "fma", "abm",  "movbe", "xsave"};

constexpr const char* kEverywhere[] = {
    // x86-64-v1 and the platform.
    "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "sep", "mtrr", "pge",
    "mca", "cmov", "pat", "pse36", "clflush", "mmx", "fxsr", "sse", "sse2", "ht", "syscall", "nx",
    "lm", "rdtscp", "cmp_legacy", "topoext", "cr8_legacy", "mmxext",
    // What KVM makes on every host.
    "hypervisor", "x2apic", "tsc_deadline_timer", "tsc_adjust", "nonstop_tsc", "kvm_clocksource",
    "kvm_clocksource2", "kvm_clocksource_stable", "kvm_nop_io_delay", "kvm_pv_eoi", "kvm_pv_unhalt",
    "kvm_pv_tlb_flush", "kvm_pv_send_ipi", "kvm_poll_control", "kvm_pv_sched_yield",
    // Controls against speculation. Not arch_capabilities: it says to what a stepping is immune.
    "spec_ctrl", "intel_stibp", "ssbd", "md_clear", "flush_l1d", "ibpb", "ibrs", "stibp",
    "amd_ssbd", "virt_ssbd"};
// Haswell's and the first Zen's.
constexpr const char* kWithV3[] = {"pclmulqdq", "aes",     "rdrand",        "fsgsbase", "smep",
                                   "erms",      "pdpe1gb", "3dnowprefetch", "xsaveopt", "osxsave"};
// AMD has them since Zen 3 only.
constexpr const char* kWithV3OnIntel[] = {"pcid", "invpcid"};

// AMD repeats those bits of leaf 1 that were there before the extended leaf.
constexpr CpuidWord kRepeated{0x80000001, 0, CpuidRegister::kEdx};
constexpr std::uint32_t kRepeatedBits = 0x0183f3ff;
// Of the state that XSAVE saves: x87, SSE, AVX, and the size that they take.
constexpr std::uint32_t kAvxState = 7, kAvxStateSize = 832, kAvxComponent = 2;

class Allowed {
 public:
  void add(Names names) { names_.insert(names_.end(), names.begin(), names.end()); }
  std::uint32_t bits(const CpuidWord& word) const {
    std::uint32_t bits = word == kRepeated ? kRepeatedBits : 0;
    for (const char* name : names_) {
      const CpuFeature* feature = feature_named(name);
      if (feature->word == word) bits |= 1U << feature->bit;
    }
    return bits;
  }

 private:
  std::vector<const char*> names_;
};

// Leaves that describe features in other ways than by a bit for each, and new ones.
bool describes_features(std::uint32_t leaf) {
  constexpr std::uint32_t kLast = 0x16, kExtensions = 0x40000000;
  constexpr std::uint32_t kLastExtended = 0x80000008, kCaches = 0x8000001d, kTopology = 0x8000001e;
  if (leaf == 0x12 || leaf == 0x14) return true;                // SGX, processor trace
  if (leaf > kLast && leaf < kExtensions) return leaf != 0x1f;  // 0x1f: topology
  return leaf > kLastExtended && leaf != kCaches && leaf != kTopology;
}

void limit_state(kvm_cpuid_entry2& entry, bool avx) {
  // EBX of 0 and 1 is KVM's to fill in.
  if (avx && entry.index == 0) {
    entry.eax = entry.eax & kAvxState;
    entry.ebx = entry.ecx = kAvxStateSize;
    entry.edx = 0;
  } else if (avx && entry.index == 1) {
    entry.ebx = entry.ecx = entry.edx = 0;
  } else if (!avx || entry.index != kAvxComponent) {
    entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
  }
}

void hide(CpuidTable& table, const Allowed& allowed, bool avx) {
  for (kvm_cpuid_entry2& entry : table) {
    for (const CpuidWord& word : feature_words()) {
      if (word.leaf != entry.function || word.index != entry.index) continue;
      if (word.leaf == 0xd && word.index == 0) continue;  // limit_state's
      field(entry, word.where) &= allowed.bits(word);
    }
    if (entry.function == 7 && entry.index == 0) entry.eax = 0;  // no further subleaves
    if (entry.function == 7 && entry.index != 0) entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
    if (entry.function == 0xd) limit_state(entry, avx);
    if (describes_features(entry.function)) entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
  }
}

struct MsrOfFeature {
  std::uint32_t first, last;
  std::array<const char*, 5> features;  // any of these; none: no guest is shown any
};
constexpr MsrOfFeature kMsrs[] = {
    {0x3b, 0x3b, {"tsc_adjust"}},
    {0x48, 0x48, {"spec_ctrl", "ibrs", "stibp", "amd_ssbd", "ssbd"}},
    {0xcf, 0xcf, {"core_capabilities"}},
    {0xe1, 0xe1, {"waitpkg"}},
    {0x10a, 0x10a, {"arch_capabilities"}},
    {0x122, 0x122, {"arch_capabilities"}},  // TSX control
    {0x1c4, 0x1c5, {"xfd"}},
    {0x345, 0x345, {"pdcm"}},
    {0x480, 0x493, {}},  // VMX
    {0x570, 0x587, {"intel_pt"}},
    {0x6a0, 0x6a8, {"user_shstk", "ibt"}},
    {0xd90, 0xd90, {"mpx"}},
    {0xda0, 0xda0, {"xsaves"}},
    {0xc0000103, 0xc0000103, {"rdtscp", "rdpid"}},
};

}  // namespace

std::vector<std::string> cpu_templates() {
  return {"host", "x86-64-v2", "x86-64-v3"};
}

Status apply_template(std::string_view name, CpuidTable& table) {
  if (name == "host") return {};
  const bool v3 = name == "x86-64-v3";
  if (!v3 && name != "x86-64-v2") {
    std::string known;
    for (const std::string& each : cpu_templates()) known += " " + each;
    return fail("unknown CPU template '" + std::string(name) + "'; known:" + known);
  }
  std::string missing;
  const auto require = [&](Names level) {
    for (const char* feature : level) {
      if (!has_feature(table, feature))
        missing += (missing.empty() ? "" : ", ") + std::string(feature);
    }
  };
  Allowed allowed;
  allowed.add(kEverywhere);
  allowed.add(kV2);
  require(kV2);
  if (v3) {
    allowed.add(kV3);
    allowed.add(kWithV3);
    if (cpu_vendor(table) == "GenuineIntel") allowed.add(kWithV3OnIntel);
    require(kV3);
  }
  if (!missing.empty())
    return fail("this host's CPU (" + cpu_brand(table) + ") lacks what " + std::string(name) +
                " needs: " + missing);
  hide(table, allowed, v3);
  return {};
}

std::vector<std::uint32_t> visible_msrs(std::span<const std::uint32_t> indexes,
                                        std::span<const kvm_cpuid_entry2> table) {
  std::vector<std::uint32_t> visible(indexes.begin(), indexes.end());
  std::erase_if(visible, [&](std::uint32_t index) {
    for (const MsrOfFeature& msr : kMsrs) {
      if (index < msr.first || index > msr.last) continue;
      return std::ranges::none_of(msr.features, [&](const char* feature) {
        return feature != nullptr && has_feature(table, feature);
      });
    }
    return false;
  });
  return visible;
}

}  // namespace clonesafe::kvm
