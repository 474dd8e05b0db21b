// ACPICA as the judge of our tables: it must disassemble each, compile its own text back
// without a warning and to the same bytes, and the text must be the golden one.
//
// After a wanted change: CLONESAFE_UPDATE_GOLDEN=1 build/release/bin/acpi_test, and read the diff.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tests/unit/acpi/tables_for_testing.h"

namespace clonesafe {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

struct Variant {
  const char* name;
  AcpiConfig config;
  friend void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }
};
constexpr Variant kVariants[] = {
    {"full", {.cpus = 4, .virtio_devices = 12}},
    {"bare", {.vmgenid = false, .vmclock = false, .restore_page = false}},
    {"vmgenid", {.vmclock = false, .restore_page = false, .virtio_devices = 1}},
    {"vmclock", {.cpus = 2, .vmgenid = false, .virtio_devices = 2}},
};

std::string text_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// What iasl says of itself at the top (version, date, paths) is no part of the table.
std::string without_header_comment(const std::string& text) {
  const std::size_t end = text.find("*/");
  if (end == std::string::npos) return text;
  const std::size_t start = text.find_first_not_of(" \n", end + 2);
  // Neither is the dump of a data table at the end: its bytes are compared below.
  return text.substr(start, text.find("\nRaw Table Data", start) - start);
}

std::string with(std::string text, std::string_view old, std::string_view replacement) {
  for (std::size_t at = 0; (at = text.find(old, at)) != std::string::npos;) {
    text.replace(at, old.size(), replacement);
  }
  return text;
}

class Acpica : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "clonesafe-acpi-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }
  void write_table(TableBytes table) const {
    std::ofstream(directory_ / "table.dat", std::ios::binary)
        .write(reinterpret_cast<const char*>(table.data()),
               static_cast<std::streamsize>(table.size()));
  }
  // The program's whole output; a run that fails fails the test.
  std::string run(const std::string& program) {
    const std::string command = "cd '" + directory_.string() + "' && " + program + " 2>&1";
    FILE* pipe = ::popen(command.c_str(), "r");
    EXPECT_NE(pipe, nullptr);
    if (pipe == nullptr) return {};
    std::string output;
    char buffer[4096];
    while (const std::size_t got = ::fread(buffer, 1, sizeof buffer, pipe)) {
      output.append(buffer, got);
    }
    EXPECT_EQ(::pclose(pipe), 0) << command << "\n" << output << "(package acpica-tools)";
    return output;
  }

  std::string checked_text(TableBytes table);

  fs::path directory_;
};

// The table as text, once it is known to have no fault.
std::string Acpica::checked_text(TableBytes table) {
  write_table(table);
  const std::string disassembled = run("iasl -d table.dat");
  EXPECT_THAT(disassembled, ::testing::Not(HasSubstr("Warning")));
  EXPECT_THAT(disassembled, ::testing::Not(HasSubstr("Error")));

  // iasl wants four hexadecimal digits at the end of an id; Linux before 6.10 wants this one.
  constexpr std::string_view kId = "VMGENCTR";
  constexpr std::string_view kIdForIasl = "VMGE0000";
  std::ofstream(directory_ / "back.dsl")
      << with(text_of(directory_ / "table.dsl"), kId, kIdForIasl);
  // -on: names stay as long as they are written.
  const std::string compiled = run("iasl -on back.dsl");
  EXPECT_THAT(compiled, HasSubstr("0 Errors, 0 Warnings"));
  // Not compared: the header's checksum and the compiler's name and version, which are iasl's
  // own.
  const std::string back = with(text_of(directory_ / "back.aml"), kIdForIasl, kId);
  const std::string ours = text_of(directory_ / "table.dat");
  EXPECT_EQ(back.size(), ours.size());
  if (back.size() == ours.size()) {
    EXPECT_EQ(back.substr(0, 9), ours.substr(0, 9));
    EXPECT_EQ(back.substr(10, 18), ours.substr(10, 18));
    EXPECT_EQ(back.substr(36), ours.substr(36));
  }
  return without_header_comment(text_of(directory_ / "table.dsl"));
}

void expect_golden(const std::string& text, const std::string& name) {
  const fs::path golden = fs::path(CLONESAFE_ACPI_GOLDEN) / (name + ".dsl");
  // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
  if (::getenv("CLONESAFE_UPDATE_GOLDEN") != nullptr) std::ofstream(golden) << text;
  EXPECT_EQ(text, text_of(golden)) << golden;
}

class Disassembly : public Acpica, public ::testing::WithParamInterface<Variant> {};

TEST_P(Disassembly, HasNoWarningsCompilesBackAndIsTheGoldenText) {
  const auto image = build_acpi_tables(GetParam().config).value();
  std::ostringstream all;
  for (const auto& [signature, table] : tables_in(image)) {
    if (signature == "RSD PTR ") continue;  // no table to iasl; tables_test checks its bytes
    SCOPED_TRACE(signature);
    all << checked_text(table) << "\n";
  }
  expect_golden(all.str(), GetParam().name);
}

// At an address above 4 GiB, and lines of its own.
TEST_F(Acpica, SsdtForOtherVmmsHasTheGenerationDevicesWhereTheyAre) {
  const auto table =
      build_generation_ssdt({.pages = 0x12'3456'7000, .vmgenid_gsi = 9, .vmclock_gsi = 17});
  ASSERT_TRUE(table);
  expect_golden(checked_text(*table), "ssdt");
}

INSTANTIATE_TEST_SUITE_P(Variants, Disassembly, ::testing::ValuesIn(kVariants),
                         [](const auto& variant) { return std::string(variant.param.name); });

// ACPICA's interpreter, the one that Linux has, runs the event method for both lines and another.
// acpiexec tells of a notification in a thread of its own, which may be late: so each line has a
// process of its own, and a second command, for a line that notifies nothing, leaves the first
// one's thread its time.
TEST_F(Acpica, EventMethodNotifiesTheDeviceOfItsLineAndNoOther) {
  static_assert(layout::kVmgenidGsi == 0x14 && layout::kVmclockGsi == 0x15);
  const auto image = build_acpi_tables({}).value();
  write_table(tables_in(image).at("DSDT"));
  const auto notified_by = [this](const std::string& interrupt) {
    std::istringstream output(run("acpiexec -b 'execute \\_SB.GED._EVT " + interrupt +
                                  "; execute \\_SB.GED._EVT 0x16' table.dat"));
    std::string devices;
    int evaluated = 0;
    for (std::string line; std::getline(output, line);) {
      if (line.starts_with("Evaluating \\_SB.GED._EVT")) ++evaluated;
      if (line.find("Device Notify") == std::string::npos) continue;
      EXPECT_THAT(line, HasSubstr("Value 0x80 "));
      devices += line.substr(line.find('['), 6);
    }
    EXPECT_EQ(evaluated, 2);
    return devices;
  };
  EXPECT_EQ(notified_by("0x14"), "[VGEN]");
  EXPECT_EQ(notified_by("0x15"), "[VCLK]");
  EXPECT_EQ(notified_by("0x16"), "");
}

}  // namespace
}  // namespace clonesafe
