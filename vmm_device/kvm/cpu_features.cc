#include "vmm_device/kvm/cpu_features.h"

#include <algorithm>
#include <cstdio>

namespace clonesafe::kvm {
namespace {

using enum CpuidRegister;

constexpr CpuidWord k1Ecx{1, 0, kEcx};
constexpr CpuidWord k1Edx{1, 0, kEdx};
constexpr CpuidWord k7Ebx{7, 0, kEbx};
constexpr CpuidWord k7Ecx{7, 0, kEcx};
constexpr CpuidWord k7Edx{7, 0, kEdx};
constexpr CpuidWord k71Eax{7, 1, kEax};
constexpr CpuidWord k71Edx{7, 1, kEdx};
constexpr CpuidWord k72Edx{7, 2, kEdx};
constexpr CpuidWord kD1Eax{0xd, 1, kEax};
constexpr CpuidWord kExtEcx{0x80000001, 0, kEcx};
constexpr CpuidWord kExtEdx{0x80000001, 0, kEdx};
constexpr CpuidWord kPowerEdx{0x80000007, 0, kEdx};
constexpr CpuidWord kExt8Ebx{0x80000008, 0, kEbx};
constexpr CpuidWord kExt21Eax{0x80000021, 0, kEax};
constexpr CpuidWord kKvmEax{0x40000001, 0, kEax};
constexpr CpuidWord kD0Eax{0xd, 0, kEax}, kD0Edx{0xd, 0, kEdx};

constexpr CpuidWord kWords[] = {k1Ecx,    k1Edx,     k7Ebx,   k7Ecx,   k7Edx,   k71Eax,
                                k71Edx,   k72Edx,    kD1Eax,  kExtEcx, kExtEdx, kPowerEdx,
                                kExt8Ebx, kExt21Eax, kKvmEax, kD0Eax,  kD0Edx};

// As Intel's SDM 2A, AMD's APM 3 and Linux's kvm_para.h number them.
constexpr CpuFeature kFeatures[] = {
    {"pni", k1Ecx, 0},
    {"pclmulqdq", k1Ecx, 1},
    {"dtes64", k1Ecx, 2},
    {"monitor", k1Ecx, 3},
    {"ds_cpl", k1Ecx, 4},
    {"vmx", k1Ecx, 5},
    {"smx", k1Ecx, 6},
    {"est", k1Ecx, 7},
    {"tm2", k1Ecx, 8},
    {"ssse3", k1Ecx, 9},
    {"sdbg", k1Ecx, 11},
    {"fma", k1Ecx, 12},
    {"cx16", k1Ecx, 13},
    {"xtpr", k1Ecx, 14},
    {"pdcm", k1Ecx, 15},
    {"pcid", k1Ecx, 17},
    {"dca", k1Ecx, 18},
    {"sse4_1", k1Ecx, 19},
    {"sse4_2", k1Ecx, 20},
    {"x2apic", k1Ecx, 21},
    {"movbe", k1Ecx, 22},
    {"popcnt", k1Ecx, 23},
    {"tsc_deadline_timer", k1Ecx, 24},
    {"aes", k1Ecx, 25},
    {"xsave", k1Ecx, 26},
    {"osxsave", k1Ecx, 27},
    {"avx", k1Ecx, 28},
    {"f16c", k1Ecx, 29},
    {"rdrand", k1Ecx, 30},
    {"hypervisor", k1Ecx, 31},
    {"fpu", k1Edx, 0},
    {"vme", k1Edx, 1},
    {"de", k1Edx, 2},
    {"pse", k1Edx, 3},
    {"tsc", k1Edx, 4},
    {"msr", k1Edx, 5},
    {"pae", k1Edx, 6},
    {"mce", k1Edx, 7},
    {"cx8", k1Edx, 8},
    {"apic", k1Edx, 9},
    {"sep", k1Edx, 11},
    {"mtrr", k1Edx, 12},
    {"pge", k1Edx, 13},
    {"mca", k1Edx, 14},
    {"cmov", k1Edx, 15},
    {"pat", k1Edx, 16},
    {"pse36", k1Edx, 17},
    {"pn", k1Edx, 18},
    {"clflush", k1Edx, 19},
    {"dts", k1Edx, 21},
    {"acpi", k1Edx, 22},
    {"mmx", k1Edx, 23},
    {"fxsr", k1Edx, 24},
    {"sse", k1Edx, 25},
    {"sse2", k1Edx, 26},
    {"ss", k1Edx, 27},
    {"ht", k1Edx, 28},
    {"tm", k1Edx, 29},
    {"pbe", k1Edx, 31},
    {"fsgsbase", k7Ebx, 0},
    {"tsc_adjust", k7Ebx, 1},
    {"sgx", k7Ebx, 2},
    {"bmi1", k7Ebx, 3},
    {"hle", k7Ebx, 4},
    {"avx2", k7Ebx, 5},
    {"smep", k7Ebx, 7},
    {"bmi2", k7Ebx, 8},
    {"erms", k7Ebx, 9},
    {"invpcid", k7Ebx, 10},
    {"rtm", k7Ebx, 11},
    {"cqm", k7Ebx, 12},
    {"mpx", k7Ebx, 14},
    {"rdt_a", k7Ebx, 15},
    {"avx512f", k7Ebx, 16},
    {"avx512dq", k7Ebx, 17},
    {"rdseed", k7Ebx, 18},
    {"adx", k7Ebx, 19},
    {"smap", k7Ebx, 20},
    {"avx512ifma", k7Ebx, 21},
    {"clflushopt", k7Ebx, 23},
    {"clwb", k7Ebx, 24},
    {"intel_pt", k7Ebx, 25},
    {"avx512pf", k7Ebx, 26},
    {"avx512er", k7Ebx, 27},
    {"avx512cd", k7Ebx, 28},
    {"sha_ni", k7Ebx, 29},
    {"avx512bw", k7Ebx, 30},
    {"avx512vl", k7Ebx, 31},
    {"avx512vbmi", k7Ecx, 1},
    {"umip", k7Ecx, 2},
    {"pku", k7Ecx, 3},
    {"ospke", k7Ecx, 4},
    {"waitpkg", k7Ecx, 5},
    {"avx512_vbmi2", k7Ecx, 6},
    {"user_shstk", k7Ecx, 7},
    {"gfni", k7Ecx, 8},
    {"vaes", k7Ecx, 9},
    {"vpclmulqdq", k7Ecx, 10},
    {"avx512_vnni", k7Ecx, 11},
    {"avx512_bitalg", k7Ecx, 12},
    {"tme", k7Ecx, 13},
    {"avx512_vpopcntdq", k7Ecx, 14},
    {"la57", k7Ecx, 16},
    {"rdpid", k7Ecx, 22},
    {"bus_lock_detect", k7Ecx, 24},
    {"cldemote", k7Ecx, 25},
    {"movdiri", k7Ecx, 27},
    {"movdir64b", k7Ecx, 28},
    {"enqcmd", k7Ecx, 29},
    {"avx512_4vnniw", k7Edx, 2},
    {"avx512_4fmaps", k7Edx, 3},
    {"fsrm", k7Edx, 4},
    {"avx512_vp2intersect", k7Edx, 8},
    {"srbds_ctrl", k7Edx, 9},
    {"md_clear", k7Edx, 10},
    {"serialize", k7Edx, 14},
    {"tsxldtrk", k7Edx, 16},
    {"pconfig", k7Edx, 18},
    {"arch_lbr", k7Edx, 19},
    {"ibt", k7Edx, 20},
    {"amx_bf16", k7Edx, 22},
    {"avx512_fp16", k7Edx, 23},
    {"amx_tile", k7Edx, 24},
    {"amx_int8", k7Edx, 25},
    {"spec_ctrl", k7Edx, 26},
    {"intel_stibp", k7Edx, 27},
    {"flush_l1d", k7Edx, 28},
    {"arch_capabilities", k7Edx, 29},
    {"core_capabilities", k7Edx, 30},
    {"ssbd", k7Edx, 31},
    {"sha512", k71Eax, 0},
    {"sm3", k71Eax, 1},
    {"sm4", k71Eax, 2},
    {"avx_vnni", k71Eax, 4},
    {"avx512_bf16", k71Eax, 5},
    {"cmpccxadd", k71Eax, 7},
    {"fzrm", k71Eax, 10},
    {"fsrs", k71Eax, 11},
    {"fsrc", k71Eax, 12},
    {"fred", k71Eax, 17},
    {"wrmsrns", k71Eax, 19},
    {"amx_fp16", k71Eax, 21},
    {"avx_ifma", k71Eax, 23},
    {"lam", k71Eax, 26},
    {"avx_vnni_int8", k71Edx, 4},
    {"avx_ne_convert", k71Edx, 5},
    {"amx_complex", k71Edx, 8},
    {"avx_vnni_int16", k71Edx, 10},
    {"prefetchi", k71Edx, 14},
    {"avx10", k71Edx, 19},
    {"intel_psfd", k72Edx, 0},
    {"ipred_ctrl", k72Edx, 1},
    {"rrsba_ctrl", k72Edx, 2},
    {"ddpd_u", k72Edx, 3},
    {"bhi_ctrl", k72Edx, 4},
    {"mcdt_no", k72Edx, 5},
    {"xsaveopt", kD1Eax, 0},
    {"xsavec", kD1Eax, 1},
    {"xgetbv1", kD1Eax, 2},
    {"xsaves", kD1Eax, 3},
    {"xfd", kD1Eax, 4},
    {"lahf_lm", kExtEcx, 0},
    {"cmp_legacy", kExtEcx, 1},
    {"svm", kExtEcx, 2},
    {"extapic", kExtEcx, 3},
    {"cr8_legacy", kExtEcx, 4},
    {"abm", kExtEcx, 5},
    {"sse4a", kExtEcx, 6},
    {"misalignsse", kExtEcx, 7},
    {"3dnowprefetch", kExtEcx, 8},
    {"osvw", kExtEcx, 9},
    {"ibs", kExtEcx, 10},
    {"xop", kExtEcx, 11},
    {"skinit", kExtEcx, 12},
    {"wdt", kExtEcx, 13},
    {"lwp", kExtEcx, 15},
    {"fma4", kExtEcx, 16},
    {"tbm", kExtEcx, 21},
    {"topoext", kExtEcx, 22},
    {"perfctr_core", kExtEcx, 23},
    {"perfctr_nb", kExtEcx, 24},
    {"bpext", kExtEcx, 26},
    {"perfctr_llc", kExtEcx, 28},
    {"mwaitx", kExtEcx, 29},
    {"syscall", kExtEdx, 11},
    {"mp", kExtEdx, 19},
    {"nx", kExtEdx, 20},
    {"mmxext", kExtEdx, 22},
    {"fxsr_opt", kExtEdx, 25},
    {"pdpe1gb", kExtEdx, 26},
    {"rdtscp", kExtEdx, 27},
    {"lm", kExtEdx, 29},
    {"3dnowext", kExtEdx, 30},
    {"3dnow", kExtEdx, 31},
    {"nonstop_tsc", kPowerEdx, 8},
    {"clzero", kExt8Ebx, 0},
    {"irperf", kExt8Ebx, 1},
    {"xsaveerptr", kExt8Ebx, 2},
    {"rdpru", kExt8Ebx, 4},
    {"wbnoinvd", kExt8Ebx, 9},
    {"ibpb", kExt8Ebx, 12},
    {"ibrs", kExt8Ebx, 14},
    {"stibp", kExt8Ebx, 15},
    {"stibp_always_on", kExt8Ebx, 17},
    {"amd_ssbd", kExt8Ebx, 24},
    {"virt_ssbd", kExt8Ebx, 25},
    {"amd_ssb_no", kExt8Ebx, 26},
    {"amd_psfd", kExt8Ebx, 28},
    {"btc_no", kExt8Ebx, 29},
    {"ibpb_ret", kExt8Ebx, 30},
    {"no_nested_data_bp", kExt21Eax, 0},
    {"lfence_rdtsc", kExt21Eax, 2},
    {"null_sel_clr_base", kExt21Eax, 6},
    {"autoibrs", kExt21Eax, 8},
    {"no_smm_ctl_msr", kExt21Eax, 9},
    {"sbpb", kExt21Eax, 27},
    {"ibpb_brtype", kExt21Eax, 28},
    {"srso_no", kExt21Eax, 29},
    {"kvm_clocksource", kKvmEax, 0},
    {"kvm_nop_io_delay", kKvmEax, 1},
    {"kvm_mmu_op", kKvmEax, 2},
    {"kvm_clocksource2", kKvmEax, 3},
    {"kvm_async_pf", kKvmEax, 4},
    {"kvm_steal_time", kKvmEax, 5},
    {"kvm_pv_eoi", kKvmEax, 6},
    {"kvm_pv_unhalt", kKvmEax, 7},
    {"kvm_pv_tlb_flush", kKvmEax, 9},
    {"kvm_async_pf_vmexit", kKvmEax, 10},
    {"kvm_pv_send_ipi", kKvmEax, 11},
    {"kvm_poll_control", kKvmEax, 12},
    {"kvm_pv_sched_yield", kKvmEax, 13},
    {"kvm_async_pf_int", kKvmEax, 14},
    {"kvm_msi_ext_dest_id", kKvmEax, 15},
    {"kvm_hc_map_gpa_range", kKvmEax, 16},
    {"kvm_migration_control", kKvmEax, 17},
    {"kvm_clocksource_stable", kKvmEax, 24},
};

}  // namespace

std::span<const CpuidWord> feature_words() {
  return kWords;
}

std::span<const CpuFeature> cpu_features() {
  return kFeatures;
}

const CpuFeature* feature_named(std::string_view name) {
  const auto* found =
      std::ranges::find_if(kFeatures, [&](const CpuFeature& f) { return name == f.name; });
  return found == std::end(kFeatures) ? nullptr : found;
}

std::string feature_name(const CpuidWord& word, int bit) {
  for (const CpuFeature& feature : kFeatures) {
    if (feature.word == word && feature.bit == bit) return feature.name;
  }
  static constexpr const char* kRegisters[] = {"eax", "ebx", "ecx", "edx"};
  char text[64];
  std::snprintf(text, sizeof text, "cpuid 0x%x.%u %s bit %d", word.leaf, word.index,
                kRegisters[static_cast<int>(word.where)], bit);
  return text;
}

std::uint32_t& field(kvm_cpuid_entry2& entry, CpuidRegister where) {
  switch (where) {
    case kEax:
      return entry.eax;
    case kEbx:
      return entry.ebx;
    case kEcx:
      return entry.ecx;
    case kEdx:
      break;
  }
  return entry.edx;
}

std::uint32_t value_of(std::span<const kvm_cpuid_entry2> table, const CpuidWord& word) {
  for (kvm_cpuid_entry2 entry : table) {
    if (entry.function == word.leaf && entry.index == word.index) return field(entry, word.where);
  }
  return 0;
}

bool has_feature(std::span<const kvm_cpuid_entry2> table, std::string_view name) {
  const CpuFeature* feature = feature_named(name);
  return feature != nullptr && (value_of(table, feature->word) >> feature->bit & 1) != 0;
}

}  // namespace clonesafe::kvm
