#include "vmm_device/kvm/cpuid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace clonesafe::kvm {
namespace {

using testing::HasSubstr;
using testing::Not;

kvm_cpuid_entry2 leaf(std::uint32_t function, std::uint32_t index, std::uint32_t eax,
                      std::uint32_t ebx, std::uint32_t ecx, std::uint32_t edx) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  entry.eax = eax;
  entry.ebx = ebx;
  entry.ecx = ecx;
  entry.edx = edx;
  return entry;
}

CpuidTable host(const char* vendor = "AuthenticAMD") {
  std::uint32_t name[3];
  std::memcpy(name, vendor, sizeof name);
  return {
      leaf(0, 0, 0xd, name[0], name[2], name[1]),
      leaf(1, 0, 0x800f12, 0x800, 0x7ed8320b | 1u << 5 | 1u << 30, 0x178bfbff),
      leaf(7, 0, 0, 1u << 18 | 1u << 5 | 1u << 2, 0, 0),
      leaf(0xb, 0, 0, 0, 0, 0),
      leaf(0xb, 1, 0, 0, 1, 0),
      leaf(0x40000001, 0, 0xffffffff, 0, 0, 0),
      leaf(0x80000001, 0, 0, 0, 1u << 2 | 1u, 0),
  };
}

const kvm_cpuid_entry2& find(const CpuidTable& table, std::uint32_t function,
                             std::uint32_t index = 0) {
  for (const kvm_cpuid_entry2& entry : table) {
    if (entry.function == function && entry.index == index) return entry;
  }
  ADD_FAILURE() << "no leaf " << function;
  return table.front();
}

TEST(GuestCpuid, GivesEachVcpuItsOwnApicId) {
  for (std::uint32_t index = 0; index < 4; ++index) {
    const auto table = guest_cpuid(host(), index, 4, {});
    ASSERT_TRUE(table);
    EXPECT_EQ(find(*table, 1).ebx >> 24, index);
    EXPECT_EQ(find(*table, 1).ebx >> 16 & 0xff, 4u);
    EXPECT_EQ(find(*table, 0xb).edx, index);
    EXPECT_EQ(find(*table, 0xb, 1).ebx, 4u);
    EXPECT_EQ(find(*table, 0xb, 1).eax, 2u);
  }
}

TEST(GuestCpuid, TakesAwayWhatASnapshotCannotCarry) {
  const auto table = guest_cpuid(host(), 0, 1, {});
  ASSERT_TRUE(table);
  EXPECT_EQ(find(*table, 1).ecx & 1u << 5, 0u) << "VMX";
  EXPECT_EQ(find(*table, 0x80000001).ecx & 1u << 2, 0u) << "SVM";
  const std::uint32_t paravirtual = find(*table, 0x40000001).eax;
  for (const int bit : {4, 5, 10, 14}) EXPECT_EQ(paravirtual >> bit & 1, 0u) << bit;
  EXPECT_NE(paravirtual & 1u << 3, 0u) << "the clock stays";
}

TEST(GuestCpuid, ShowsAHypervisorAndTheDeadlineTimer) {
  const auto table = guest_cpuid(host(), 0, 1, {});
  ASSERT_TRUE(table);
  EXPECT_NE(find(*table, 1).ecx & 1u << 31, 0u);
  EXPECT_NE(find(*table, 1).ecx & 1u << 24, 0u);
}

TEST(GuestCpuid, HidesMaskedFeatures) {
  const std::vector<std::string> masked = {"rdrand", "rdseed"};
  const auto table = guest_cpuid(host(), 0, 1, masked);
  ASSERT_TRUE(table);
  EXPECT_EQ(find(*table, 1).ecx & 1u << 30, 0u);
  EXPECT_EQ(find(*table, 7).ebx & 1u << 18, 0u);
  EXPECT_NE(find(*table, 7).ebx & 1u << 5, 0u) << "others stay";
}

TEST(GuestCpuid, RefusesAnUnknownFeatureByName) {
  const std::vector<std::string> masked = {"rdrandom"};
  const auto table = guest_cpuid(host(), 0, 1, masked);
  ASSERT_FALSE(table);
  EXPECT_THAT(table.error().message(), HasSubstr("'rdrandom'"));
  EXPECT_THAT(table.error().message(), HasSubstr("rdseed"));
}

TEST(CheckCompatible, TakesWhatTheSameHostGave) {
  const auto saved = guest_cpuid(host(), 1, 2, {});
  ASSERT_TRUE(saved);
  const auto checked = check_compatible(*saved, host());
  EXPECT_TRUE(checked) << checked.error().message();
}

TEST(CheckCompatible, NamesTheMissingFeatures) {
  const auto saved = guest_cpuid(host(), 0, 1, {});
  CpuidTable smaller = host();
  smaller[2].ebx &= ~(1u << 18 | 1u << 5);
  const auto checked = check_compatible(*saved, smaller);
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().message(), HasSubstr("rdseed"));
  EXPECT_THAT(checked.error().message(), HasSubstr("avx2"));
  EXPECT_THAT(checked.error().message(), Not(HasSubstr("rdrand,")));
}

TEST(CheckCompatible, NamesAFeatureWithoutANameByItsPlace) {
  auto saved = *guest_cpuid(host(), 0, 1, {});
  saved[2].edx |= 1u << 7;
  const auto checked = check_compatible(saved, host());
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().message(), HasSubstr("cpuid 0x7.0 edx bit 7"));
}

TEST(CheckCompatible, NamesTheHostAndCountsWhatOneLineCannotHold) {
  const auto saved = *guest_cpuid(host(), 0, 1, {});
  CpuidTable bare = host();
  bare[1].ecx = bare[1].edx = 0;
  const char brand[17] = "Old Processor  ";
  std::uint32_t words[4];
  std::memcpy(words, brand, sizeof words);
  bare.push_back(leaf(0x80000002, 0, words[0], words[1], words[2], words[3]));
  const auto checked = check_compatible(saved, bare);
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().message(), HasSubstr("this host's CPU (Old Processor)"));
  EXPECT_THAT(checked.error().message(), testing::ContainsRegex("and [0-9]+ more$"));
  EXPECT_THAT(checked.error().message(), Not(HasSubstr("\n")));
}

TEST(CheckCompatible, RefusesAnotherVendor) {
  const auto saved = guest_cpuid(host(), 0, 1, {});
  const auto checked = check_compatible(*saved, host("GenuineIntel"));
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().message(), HasSubstr("AuthenticAMD"));
  EXPECT_THAT(checked.error().message(), HasSubstr("GenuineIntel"));
}

}  // namespace
}  // namespace clonesafe::kvm
