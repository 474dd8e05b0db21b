#include "vmm_device/generation/vm_generation_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace clonesafe {
namespace {

using ::testing::HasSubstr;

TEST(VmGenerationId, FirstThreeFieldsAreLittleEndianInMemory) {
  const auto id = parse_guid("00112233-4455-6677-8899-AABBccddeeff").value();
  const unsigned char expected[16] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
                                      0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
  EXPECT_EQ(std::memcmp(id.data(), expected, sizeof expected), 0);
  EXPECT_EQ(to_guid(id), "00112233-4455-6677-8899-aabbccddeeff");
}

TEST(VmGenerationId, RefusesOtherText) {
  EXPECT_THAT(parse_guid("").error().message(), HasSubstr("0 characters"));
  EXPECT_THAT(parse_guid("auto").error().message(), HasSubstr("4 characters"));
  EXPECT_THAT(parse_guid("00112233_4455-6677-8899-aabbccddeeff").error().message(),
              HasSubstr("'-' at character 9"));
  EXPECT_THAT(parse_guid("0011223g-4455-6677-8899-aabbccddeeff").error().message(),
              HasSubstr("digit at character 8"));
  EXPECT_THAT(parse_guid("00112233-4455-6677-8899-aabbccddee-f").error().message(),
              HasSubstr("digit at character 35"));
  EXPECT_FALSE(parse_guid("{0112233-4455-6677-8899-aabbccddeef}"));
}

}  // namespace
}  // namespace clonesafe
