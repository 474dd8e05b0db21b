#include "vmm_device/kvm/cpu_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/kvm/recorded_cpuid.h"
#include "vmm_device/kvm/cpu_features.h"

namespace clonesafe::kvm {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

std::set<std::string> features_of(const CpuidTable& table) {
  std::set<std::string> names;
  for (const CpuFeature& feature : cpu_features()) {
    if (has_feature(table, feature.name)) names.insert(feature.name);
  }
  return names;
}

CpuidTable limited(const char* name, CpuidTable table = zen5()) {
  const auto applied = apply_template(name, table);
  EXPECT_TRUE(applied) << applied.error().message();
  return table;
}

TEST(CpuFeatures, EachNameIsOneBitAndEachBitHasOneName) {
  std::set<std::string> names;
  std::set<std::string> places;
  for (const CpuFeature& feature : cpu_features()) {
    EXPECT_TRUE(names.insert(feature.name).second) << feature.name;
    EXPECT_EQ(feature_name(feature.word, feature.bit), feature.name);
    EXPECT_THAT(feature_words(), Contains(feature.word)) << feature.name;
  }
}

TEST(CpuTemplate, HostHidesNothing) {
  EXPECT_EQ(features_of(limited("host")), features_of(zen5()));
}

TEST(CpuTemplate, V2HasItsLevelAndNothingOfV3) {
  const auto features = features_of(limited("x86-64-v2"));
  for (const char* name : {"pni", "ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm", "sse2",
                           "lm", "nx", "syscall", "cmov"})
    EXPECT_THAT(features, Contains(name));
  for (const char* name : {"avx", "avx2", "xsave", "bmi1", "movbe", "abm", "rdrand", "avx512f"})
    EXPECT_THAT(features, Not(Contains(name)));
}

TEST(CpuTemplate, V3HasItsLevelAndNothingNewer) {
  const auto features = features_of(limited("x86-64-v3"));
  for (const char* name :
       {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave", "sse4_2", "rdrand"})
    EXPECT_THAT(features, Contains(name));
  for (const char* name : {"avx512f", "avx512vl", "vaes", "sha_ni", "clwb", "umip", "rdpid",
                           "avx_vnni", "fsrm", "xsavec", "sse4a", "smap", "clzero"})
    EXPECT_THAT(features, Not(Contains(name)));
}

TEST(CpuTemplate, EveryFeatureOfV2IsInV3AndEveryOneOfThatInTheHosts) {
  const auto v2 = features_of(limited("x86-64-v2"));
  const auto v3 = features_of(limited("x86-64-v3"));
  const auto all = features_of(zen5());
  EXPECT_TRUE(std::ranges::includes(v3, v2));
  EXPECT_TRUE(std::ranges::includes(all, v3));
  EXPECT_LT(v2.size(), v3.size());
  EXPECT_LT(v3.size(), all.size());
}

// What XSAVE saves must be what the guest has instructions for.
TEST(CpuTemplate, SavedStateShrinksWithTheFeatures) {
  const CpuidTable v3 = limited("x86-64-v3");
  EXPECT_EQ(value_of(v3, {0xd, 0, CpuidRegister::kEax}), 7u);
  EXPECT_EQ(value_of(v3, {0xd, 0, CpuidRegister::kEcx}), 832u);
  EXPECT_EQ(value_of(v3, {0xd, 2, CpuidRegister::kEax}), 256u);
  EXPECT_EQ(value_of(v3, {0xd, 6, CpuidRegister::kEax}), 0u);
  const CpuidTable v2 = limited("x86-64-v2");
  for (const std::uint32_t index : {0u, 1u, 2u})
    EXPECT_EQ(value_of(v2, {0xd, index, CpuidRegister::kEax}), 0u);
}

TEST(CpuTemplate, LeavesThatNobodyNamedAreEmpty) {
  CpuidTable table = zen5();
  const RecordedLeaf future[] = {
      {0x24, 0, 1, 2, 3, 4}, {0x80000099, 0, 1, 2, 3, 4}, {7, 2, 1, 2, 3, 4}};
  for (const auto& entry : table_of(future)) table.push_back(entry);
  for (const kvm_cpuid_entry2& entry : limited("x86-64-v3", table)) {
    if (entry.function == 0x24 || entry.function == 0x80000099 || entry.function == 0x80000021 ||
        (entry.function == 7 && entry.index > 0)) {
      EXPECT_EQ(entry.eax | entry.ebx | entry.ecx | entry.edx, 0u) << std::hex << entry.function;
    }
  }
}

TEST(CpuTemplate, AHostBelowTheLevelIsRefusedWithWhatItLacks) {
  CpuidTable table = zen5();
  for (kvm_cpuid_entry2& entry : table) {
    if (entry.function == 7) entry.ebx &= ~(1U << 5);   // avx2
    if (entry.function == 1) entry.ecx &= ~(1U << 22);  // movbe
  }
  const auto applied = apply_template("x86-64-v3", table);
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().message(), HasSubstr("x86-64-v3 needs: avx2, movbe"));
  EXPECT_TRUE(apply_template("x86-64-v2", table));
}

TEST(CpuTemplate, AnUnknownOneIsRefusedAndTheKnownAreListed) {
  CpuidTable table = zen5();
  const auto applied = apply_template("x86-64-v5", table);
  ASSERT_FALSE(applied);
  for (const char* text : {"x86-64-v5", "x86-64-v2", "x86-64-v3", "host"})
    EXPECT_THAT(applied.error().message(), HasSubstr(text));
}

// A snapshot of a template's guest goes where the host's own would not.
TEST(CpuTemplate, SnapshotMovesToAHostWithoutWhatWasHidden) {
  CpuidTable older = limited("x86-64-v3");
  const auto whole = guest_cpuid(zen5(), 0, 1, {});
  const auto portable = guest_cpuid(zen5(), 0, 1, {}, "x86-64-v3");
  ASSERT_TRUE(whole);
  ASSERT_TRUE(portable);
  EXPECT_TRUE(check_compatible(*portable, older));
  const auto refused = check_compatible(*whole, older);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("avx512f"));
}

TEST(VisibleMsrs, ThoseOfHiddenFeaturesAreLeftOut) {
  const std::vector<std::uint32_t> all = {0x10, 0x48, 0x10a, 0x485, 0xda0, 0xc0000103, 0x4b564d01};
  const auto v2 = visible_msrs(all, limited("x86-64-v2"));
  EXPECT_THAT(v2, testing::ElementsAre(0x10, 0x4b564d01));
  CpuidTable intel = zen5();
  for (kvm_cpuid_entry2& entry : intel) {
    if (entry.function == 7) entry.edx |= 1U << 29 | 1U << 26;
    if (entry.function == 0x80000001) entry.edx |= 1U << 27;  // rdtscp
  }
  EXPECT_THAT(visible_msrs(all, intel), Contains(0x10au));
  EXPECT_THAT(visible_msrs(all, intel), Contains(0x48u));
  EXPECT_THAT(visible_msrs(all, intel), Contains(0xc0000103u));
  EXPECT_THAT(visible_msrs(all, intel), Not(Contains(0x485u))) << "no guest is shown VMX";
}

}  // namespace
}  // namespace clonesafe::kvm
