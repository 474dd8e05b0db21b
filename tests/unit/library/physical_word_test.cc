// The restore page and VMGENID in guest memory, as root sees them where no agent has given it more.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "clonesafe/abi/restore_page.h"
#include "tests/unit/agent/acpi_tables.h"
#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

using ::testing::HasSubstr;
using ::testing::IsNull;

constexpr std::uint64_t kRestorePage = 0x7000;
// Where the tables of agent/acpi_tables.h say that VMGENID is.
constexpr std::uint64_t kQemuVmgenid = 0x0ffff028;

class PhysicalWordTest : public Laboratory {
 protected:
  PhysicalWordTest() {
    std::filesystem::create_directory(tables_);
    write(iomem_, "00000000-00000fff : Reserved\n");
    write(memory_, "");
    core::seams_for_testing.physical_paths = {
        .memory = memory_.c_str(), .iomem = iomem_.c_str(), .acpi_tables = tables_.c_str()};
  }
  ~PhysicalWordTest() override {
    for (const std::string& path : {iomem_, memory_, tables_}) std::filesystem::remove_all(path);
  }

  static void write(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  void write_memory(std::uint64_t address, const void* bytes, std::size_t size) const {
    std::fstream memory(memory_, std::ios::binary | std::ios::in | std::ios::out);
    memory.seekp(static_cast<std::streamoff>(address));
    memory.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
  }
  void have_restore_page(std::uint64_t magic = CLONESAFE_RESTORE_PAGE_MAGIC) const {
    write(iomem_, "feff0000-feff3fff : Reserved\n  00007000-00008fff : CLNS0001:00\n");
    clonesafe_restore_page page = {};
    page.magic = magic;
    page.version = CLONESAFE_RESTORE_PAGE_VERSION;
    page.generation = 1;
    page.restore_id[0] = 1;
    write_memory(kRestorePage, &page, sizeof(page));
  }
  void have_vmgenid() const {
    const auto* const table = reinterpret_cast<const char*>(agent::kQemuSsdt);
    write(tables_ + "/SSDT3", {table, sizeof(agent::kQemuSsdt)});
    const std::uint64_t id[2] = {1, 2};
    write_memory(kQemuVmgenid, id, sizeof(id));
    write_memory((kQemuVmgenid | 4095) + 1, "", 1);  // the page is there to its end
  }
  static cs_status_report status() {
    cs_status_report report = {};
    EXPECT_EQ(cs_status(&report, sizeof(report)), 0);
    return report;
  }
  // How many of the first values of eight clones, which are told of a clone by the word alone,
  // stand there more than once.
  std::size_t repeated() {
    draw();
    const auto all = run_clones(8, [](int clone) {
      if (core::process()->sources.has_counter()) {
        write_clone_counter(0x100 + static_cast<std::uint64_t>(clone));
      }
      std::vector<Value> values = {draw()};
      if (core::process()->sources.has_counter()) {
        EXPECT_EQ(status().separation, std::uint32_t{CS_SEPARATION_HOST});
      }
      return values;
    });
    std::vector<Value> values;
    for (const auto& one : all) values.push_back(one.at(0));
    return count_repeated(values);
  }

  const std::string folder = std::filesystem::path(page_path_).parent_path().string();
  const std::string memory_ = folder + "/memory";
  const std::string iomem_ = folder + "/iomem";
  const std::string tables_ = folder + "/tables";
};

TEST_F(PhysicalWordTest, ClonesDivergeByTheRestorePageFromTheFirstInstruction) {
  have_restore_page();
  restart();
  const cs_status_report report = status();
  EXPECT_EQ(report.tier, std::uint32_t{CS_TIER_WORD});
  EXPECT_EQ(report.sources & (CS_SOURCE_RESTORE_PAGE | CS_SOURCE_VMGENID | CS_SOURCE_VMCLOCK),
            CS_SOURCE_RESTORE_PAGE);
  EXPECT_THAT(report.memory_problem, IsNull());
  EXPECT_EQ(repeated(), 0u);
}

TEST_F(PhysicalWordTest, ClonesDivergeByVmgenidFromTheFirstInstruction) {
  have_vmgenid();
  restart();
  const cs_status_report report = status();
  EXPECT_EQ(report.tier, std::uint32_t{CS_TIER_WORD});
  EXPECT_EQ(report.sources & (CS_SOURCE_RESTORE_PAGE | CS_SOURCE_VMGENID), CS_SOURCE_VMGENID);
  EXPECT_EQ(repeated(), 0u);
}

// What the two tests above would see without the feature.
TEST_F(PhysicalWordTest, WithoutEitherClonesRepeatEachOther) {
  restart();
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_NONE});
  EXPECT_THAT(status().memory_problem, HasSubstr("no restore page and no VMGENID"));
  EXPECT_EQ(repeated(), 1u);
}

TEST_F(PhysicalWordTest, TheIdIsMixedInAsWellAsTheWord) {
  have_restore_page();
  restart();
  draw();
  const auto all = run_clones(8, [](int clone) {
    auto* const id = const_cast<std::uint8_t*>(core::process()->sources.counter_id());
    id[15] = static_cast<std::uint8_t>(clone);
    write_clone_counter(2);
    return draw_many(1);
  });
  std::vector<Value> values;
  for (const auto& one : all) values.push_back(one.at(0));
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(PhysicalWordTest, TheRestorePageComesBeforeVmgenid) {
  have_restore_page();
  have_vmgenid();
  restart();
  EXPECT_EQ(status().sources & (CS_SOURCE_RESTORE_PAGE | CS_SOURCE_VMGENID),
            CS_SOURCE_RESTORE_PAGE);
}

TEST_F(PhysicalWordTest, WhatTellsInTimeAlreadyIsUsedInstead) {
  have_restore_page();
  write_vmclock(5);
  restart();
  EXPECT_EQ(status().sources & (CS_SOURCE_RESTORE_PAGE | CS_SOURCE_VMCLOCK), CS_SOURCE_VMCLOCK);
  std::filesystem::remove(vmclock_path_);
  publish({.diversifier = 1, .tier = CLONESAFE_TIER_WORD});
  restart();
  EXPECT_EQ(status().sources & CS_SOURCE_RESTORE_PAGE, 0u);
  EXPECT_THAT(status().memory_problem, HasSubstr("another source tells in time"));
  publish({.diversifier = 1, .tier = CLONESAFE_TIER_LAGGING});
  restart();
  EXPECT_NE(status().sources & CS_SOURCE_RESTORE_PAGE, 0u);
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_WORD});
}

TEST_F(PhysicalWordTest, WhatCannotBeUsedIsNamed) {
  have_restore_page(/*magic=*/1);
  restart();
  EXPECT_THAT(status().memory_problem, HasSubstr("not a restore page"));
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_NONE});
  write(iomem_, "00007800-00008fff : CLNS0001:00\n");
  restart();
  EXPECT_THAT(status().memory_problem, HasSubstr("not where a page can be"));
  // Hidden from who has no right to see it.
  write(iomem_, "00000000-00000000 : CLNS0001:00\n");
  restart();
  EXPECT_THAT(status().memory_problem, HasSubstr("no restore page and no VMGENID"));
  std::filesystem::remove(iomem_);
  restart();
  EXPECT_THAT(status().memory_problem, HasSubstr("No such file"));
  draw();
}

TEST_F(PhysicalWordTest, VmgenidThatIsNoTableIsNotFound) {
  write(tables_ + "/DSDT", std::string(300, 'x'));
  std::filesystem::create_directory(tables_ + "/SSDT");
  restart();
  EXPECT_THAT(status().memory_problem, HasSubstr("Is a directory"));
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_NONE});
}

}  // namespace
}  // namespace clonesafe::laboratory
