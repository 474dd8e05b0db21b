#include "guest_agent/base/bytes.h"

#include <gtest/gtest.h>

#include "guest_agent/base/digest.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

TEST(Bytes, IdsGoToTextAndBack) {
  Id16 bytes = {};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(0xf0 + i);
  EXPECT_EQ(hex(bytes), "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
  EXPECT_EQ(parse_id(hex(bytes)), bytes);
}

TEST(Bytes, WhatIsNotAnIdIsRefused) {
  EXPECT_FALSE(parse_id(""));
  EXPECT_FALSE(parse_id("f0f1f2f3f4f5f6f7f8f9fafbfcfdfef"));
  EXPECT_FALSE(parse_id("f0f1f2f3f4f5f6f7f8f9fafbfcfdfefg"));
  EXPECT_FALSE(parse_id("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff00"));
}

TEST(Bytes, NumbersAreHexWithoutPrefix) {
  EXPECT_EQ(hex(std::uint64_t{0xfeff0028}), "feff0028");
  EXPECT_EQ(parse_hex("ffffffffffffffff"), 0xffffffffffffffffU);
  for (const char* const text : {"", "-1", "0x10", "1ffffffffffffffff", "12 "}) {
    EXPECT_FALSE(parse_hex(text)) << text;
  }
}

TEST(Bytes, Uuid4HasVersionAndVariant) {
  EXPECT_EQ(uuid4_text(id(0xff)), "ffffffff-ffff-4fff-bfff-ffffffffffff");
  EXPECT_EQ(uuid4_text(id(0x00)), "00000000-0000-4000-8000-000000000000");
}

TEST(Digest, PartsDontRunIntoEachOther) {
  const std::uint8_t bytes[] = {1, 2, 3};
  const auto one = digest("x", {std::span(bytes).first(1), std::span(bytes).subspan(1)});
  const auto two = digest("x", {std::span(bytes).first(2), std::span(bytes).subspan(2)});
  ASSERT_TRUE(one && two);
  EXPECT_NE(*one, *two);
}

// HMAC-SHA256(key = 32 x 0x0b, "clonesafe diversifier v1"), by `openssl dgst -mac HMAC`.
TEST(Digest, DiversifierIsTheHmacOfTheSeed) {
  const auto diversifier = diversifier_from_seed(bytes32(0x0b));
  ASSERT_TRUE(diversifier);
  EXPECT_EQ(hex(*diversifier), "1a21af6fa8438650fce94f537ceea0e12558224a7a44cb16573f1578cfb79c8d");
}

}  // namespace
}  // namespace clonesafe::agent
