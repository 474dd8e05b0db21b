#include <gtest/gtest.h>

#include "guest_agent/sources/devices.h"
#include "guest_agent/sources/kmsg_source.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

constexpr std::string_view kIomem =
    "00000000-00000fff : Reserved\n"
    "feff0000-feff3fff : Reserved\n"
    "  feff1000-feff1fff : AMZNC10C:00\n"
    "  feff2000-feff3fff : CLNS0001:00\n";

TEST(Iomem, DeviceIsFoundByItsHid) {
  const auto range = find_device(kIomem, "CLNS0001");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->start, 0xfeff2000U);
  EXPECT_EQ(range->size, 0x2000U);
}

TEST(Iomem, AbsentDeviceIsAnErrorThatNamesIt) {
  const auto range = find_device(kIomem, "CLNS0002");
  ASSERT_FALSE(range);
  EXPECT_EQ(range.error().message(), "no CLNS0002 device");
}

TEST(Iomem, NameThatOnlyBeginsLikeTheHidIsAnother) {
  EXPECT_FALSE(find_device("1000-1fff : CLNS0001X:00\n", "CLNS0001"));
  EXPECT_FALSE(find_device("1000-1fff : CLNS0001\n", "CLNS0001"));
  EXPECT_FALSE(find_device("1000-1fff : CLNS0001:zz\n", "CLNS0001"));
}

TEST(Iomem, HiddenAddressIsSaidToBeHidden) {
  const auto range = find_device("00000000-00000000 : CLNS0001:00\n", "CLNS0001");
  ASSERT_FALSE(range);
  EXPECT_NE(range.error().message().find("hidden"), std::string::npos);
}

TEST(Iomem, BrokenLineIsAnErrorNotACrash) {
  for (const char* const text : {" : CLNS0001:00", "- : CLNS0001:00\n", "12 : CLNS0001:00\n",
                                 "2000-1000 : CLNS0001:00\n", "x-y : CLNS0001:00\n", "", "\n\n"}) {
    EXPECT_FALSE(find_device(text, "CLNS0001")) << text;
  }
}

constexpr char kNotice[] = "5,1234,98765,-;random: crng reseeded due to virtual machine fork\n";

TEST(Kmsg, KernelsForkLineGivesItsSequenceNumber) {
  EXPECT_EQ(vm_fork_notice(kNotice), 1234U);
}

TEST(Kmsg, LineThatAProgramWroteIsNotBelieved) {
  // Facility 1 (user): what a write to /dev/kmsg gets.
  EXPECT_FALSE(vm_fork_notice("13,7,9,-;random: crng reseeded due to virtual machine fork\n"));
}

TEST(Kmsg, OtherAndBrokenLinesAreNot) {
  for (const char* const record : {"", ";", "5,1,2,-;random: crng init done\n",
                                   "x,1,2,-;random: crng reseeded due to virtual machine fork",
                                   "5,,2,-;random: crng reseeded due to virtual machine fork",
                                   "5;random: crng reseeded due to virtual machine fork"}) {
    EXPECT_FALSE(vm_fork_notice(record)) << record;
  }
}

// A pipe gives its bytes as they come, so one record at a time is written, as /dev/kmsg would.
TEST(Kmsg, LineFromBeforeTheStartIsThePositionAndNotNews) {
  const TemporaryFolder folder;
  folder.write("kmsg", kNotice);
  auto source = KmsgSource::open(folder / "kmsg");
  ASSERT_TRUE(source);
  Words at_start;
  ASSERT_TRUE((*source)->read(at_start));
  EXPECT_EQ(at_start.kernel_notice, 1235U);

  Words later = at_start;
  ASSERT_TRUE((*source)->read(later));
  EXPECT_EQ(later, at_start);

  std::ofstream(folder / "kmsg", std::ios::app)
      << "5,2000,99999,-;random: crng reseeded due to virtual machine fork\n";
  ASSERT_TRUE((*source)->read(later));
  EXPECT_EQ(later.kernel_notice, 2001U);
}

}  // namespace
}  // namespace clonesafe::agent
