#include "vmm_device/net/mac_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace clonesafe::network {
namespace {

TEST(MacAddress, ComesBackAsItWasWritten) {
  const auto mac = parse_mac("52:54:00:aB:cd:ef");
  ASSERT_TRUE(mac) << mac.error().message();
  EXPECT_EQ(to_string(*mac), "52:54:00:ab:cd:ef");
}

TEST(MacAddress, RefusesWhatNoInterfaceHas) {
  for (const char* text :
       {"", "52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:567", "52-54-00-12-34-56",
        "52:54:00:12:34:5g", "+2:54:00:12:34:56", " 2:54:00:12:34:56", "00:00:00:00:00:00",
        "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "525400:12:34:56:"})
    EXPECT_FALSE(parse_mac(text)) << text;
}

TEST(MacAddress, RandomOnesAreLocalUnicastAndDiffer) {
  const auto one = random_mac();
  const auto two = random_mac();
  ASSERT_TRUE(one && two);
  EXPECT_NE(*one, *two);
  for (const MacAddress& mac : {*one, *two}) EXPECT_EQ(mac.bytes[0] & 3, 2) << to_string(mac);
}

}  // namespace
}  // namespace clonesafe::network
