#include <gtest/gtest.h>

#include "clonesafe/abi/vmclock.h"
#include "guest_agent/sources/discover.h"
#include "guest_agent/sources/restore_page_source.h"
#include "guest_agent/sources/seed_page.h"
#include "guest_agent/sources/vmclock_source.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

class RestorePageTest : public testing::Test {
 protected:
  Result<RestoreWords> read() {
    return read_restore_page(
        {reinterpret_cast<const std::byte*>(&pages_.page()), CLONESAFE_RESTORE_PAGE_SIZE});
  }
  std::string refusal() {
    const auto words = read();
    return words ? "(accepted)" : words.error().message();
  }

  TemporaryFolder folder_;
  RestorePages pages_{folder_ / "restore"};
};

TEST_F(RestorePageTest, WholePageIsRead) {
  pages_.write(RestoreKind::kClone, 77, 3);
  const auto words = read();
  ASSERT_TRUE(words);
  EXPECT_EQ(words->kind, RestoreKind::kClone);
  EXPECT_EQ(words->generation, 77U);
  EXPECT_EQ(words->reseed_epoch, 1003U);
  EXPECT_EQ(words->restore_id, id(3));
  EXPECT_EQ(words->vm_generation_id, id(77));
  EXPECT_EQ(words->host_realtime_ns, 5U);
  EXPECT_EQ(words->tsc_khz, 0U);
  pages_.page().tsc = 6;
  pages_.page().tsc_khz = 7;
  const auto with_tsc = read();
  ASSERT_TRUE(with_tsc);
  EXPECT_EQ(with_tsc->tsc, 6U);
  EXPECT_EQ(with_tsc->tsc_khz, 7U);
  EXPECT_EQ(with_tsc->metadata, "");
  std::memcpy(pages_.page().metadata, "role=worker and more", 20);
  pages_.page().metadata_size = 11;
  EXPECT_EQ(read()->metadata, "role=worker");
}

TEST_F(RestorePageTest, EachBrokenFieldIsNamed) {
  pages_.write(RestoreKind::kClone, 77, 3);
  const clonesafe_restore_page good = pages_.page();
  const auto broken = [&](auto change) {
    pages_.page() = good;
    change(pages_.page());
    return refusal();
  };
  EXPECT_NE(broken([](auto& p) { p.magic = 1; }).find("magic"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.version = 9; }).find("version 9"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.size = 5; }).find("size"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.kind = 0; }).find("kind 0"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.kind = 5; }).find("kind 5"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.generation = 0; }).find("zero"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.reseed_epoch = 0; }).find("zero"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.metadata_size = 3073; }).find("3073"), std::string::npos);
}

TEST_F(RestorePageTest, SequenceThatStaysOddEndsTheReading) {
  pages_.write(RestoreKind::kClone, 77, 3);
  pages_.page().sequence |= 1;
  EXPECT_NE(refusal().find("settle"), std::string::npos);
}

TEST_F(RestorePageTest, ShortPageIsRefused) {
  pages_.write(RestoreKind::kClone, 77, 3);
  EXPECT_FALSE(
      read_restore_page({reinterpret_cast<const std::byte*>(&pages_.page()), std::size_t{64}}));
}

TEST_F(RestorePageTest, SeedIsCopiedForItsOwnRestoreOnly) {
  pages_.write(RestoreKind::kClone, 77, 3);
  auto opened = RestorePageSource::open_file(pages_.path());
  ASSERT_TRUE(opened);
  ASSERT_TRUE(opened->seed);
  Seed seed;
  const auto other = opened->seed->copy(id(4), seed);
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message().find("another restore"), std::string::npos);
  ASSERT_TRUE(opened->seed->copy(id(3), seed));
  EXPECT_EQ(seed.bytes()[31], 0x83);
}

TEST_F(RestorePageTest, WipedSeedIsGoneFromThePage) {
  pages_.write(RestoreKind::kClone, 77, 3);
  auto opened = RestorePageSource::open_file(pages_.path());
  ASSERT_TRUE(opened && opened->seed);
  ASSERT_TRUE(opened->seed->wipe());
  EXPECT_TRUE(is_zero(pages_.seed().seed));
  EXPECT_EQ(pages_.seed().present, 0U);
  Seed seed;
  const auto again = opened->seed->copy(id(3), seed);
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message().find("used up"), std::string::npos);
}

TEST_F(RestorePageTest, SeedAddressOutsideTheResourceIsNotFollowed) {
  pages_.write(RestoreKind::kClone, 77, 3);
  pages_.page().seed_page_address = 0x100000;
  auto opened = RestorePageSource::open_file(pages_.path());
  ASSERT_TRUE(opened);
  EXPECT_FALSE(opened->seed);
  EXPECT_NE(opened->note.find("outside"), std::string::npos);
}

TEST_F(RestorePageTest, FileOfTheWrongSizeIsRefusedBeforeItIsMapped) {
  folder_.write("short", "x");
  EXPECT_FALSE(RestorePageSource::open_file(folder_ / "short"));
}

clonesafe_vmclock vmclock(std::uint32_t sequence, std::uint64_t flags) {
  clonesafe_vmclock page = {};
  page.magic = CLONESAFE_VMCLOCK_MAGIC;
  page.size = CLONESAFE_VMCLOCK_SIZE;
  page.version = 1;
  page.seq_count = sequence;
  page.flags = flags;
  page.disruption_marker = 4;
  page.vm_generation_counter = 9;
  return page;
}

Result<VmclockWords> read(const clonesafe_vmclock& page) {
  return read_vmclock(std::as_bytes(std::span(&page, 1)));
}

TEST(Vmclock, CounterCountsOnlyWithItsFlag) {
  const auto with = read(vmclock(2, CLONESAFE_VMCLOCK_FLAG_VM_GEN_COUNTER_PRESENT));
  ASSERT_TRUE(with);
  EXPECT_EQ(with->generation_counter, 9U);
  const auto without = read(vmclock(2, 0));
  ASSERT_TRUE(without);
  EXPECT_FALSE(without->generation_counter);
  EXPECT_EQ(without->disruption_marker, 4U);
}

TEST(Vmclock, OddSequenceEndsTheReading) {
  EXPECT_FALSE(read(vmclock(3, 0)));
}

TEST(Vmclock, ForeignPageIsRefused) {
  clonesafe_vmclock page = vmclock(2, 0);
  page.magic = 0;
  EXPECT_FALSE(read(page));
  page = vmclock(2, 0);
  page.version = 2;
  EXPECT_FALSE(read(page));
}

TEST(Discovery, MachineWithoutAnySourceSaysWhyForEach) {
  const TemporaryFolder folder;
  folder.write("iomem", "0-fff : Reserved\n");
  const Discovery found = discover_sources({.memory = folder / "mem",
                                            .iomem = folder / "iomem",
                                            .acpi_tables = folder / "tables",
                                            .vmclock_device = folder / "vmclock0",
                                            .kmsg = folder / "kmsg",
                                            .vmgenid_drivers = folder / "bus",
                                            .restore_file = {}});
  EXPECT_TRUE(found.sources.all().empty());
  EXPECT_EQ(found.reports.size(), 5U);
  for (const SourceReport& report : found.reports) {
    EXPECT_FALSE(report.present);
    EXPECT_FALSE(report.detail.empty()) << report.name;
  }
}

}  // namespace
}  // namespace clonesafe::agent
