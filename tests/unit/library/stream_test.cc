#include "libclonesafe/core/stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace clonesafe::core {
namespace {

std::vector<std::uint8_t> from_hex(const std::string& hex) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

class StreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static Primitives primitives;
    ASSERT_TRUE(primitives.hmac_sha256 != nullptr || primitives.fetch());
    ASSERT_TRUE(stream_.create(primitives));
  }
  void TearDown() override { stream_.destroy(); }
  StreamContext stream_;
};

// RFC 8439, A.1, test vectors 1 and 2: key and nonce zero, blocks 0 and 1.
TEST_F(StreamTest, GivesTheChaCha20OfTheRfc) {
  const auto block0 = from_hex(
      "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
      "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586");
  const auto block1 = from_hex(
      "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
      "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f");
  std::uint8_t key[kKeySize] = {};
  std::uint8_t output[96] = {};
  ASSERT_TRUE(stream_.generate(key, output, sizeof(output)));
  EXPECT_TRUE(std::equal(block0.begin(), block0.begin() + 32, key));
  EXPECT_TRUE(std::equal(block0.begin() + 32, block0.end(), output));
  EXPECT_TRUE(std::equal(block1.begin(), block1.end(), output + 32));
}

TEST_F(StreamTest, LengthsAroundTheKeyChangeAreContinuousAndNeverRepeat) {
  for (const std::size_t length :
       {1u, 31u, 32u, 33u, 64u, (1u << 20) - 1, 1u << 20, (1u << 20) + 1, (2u << 20) + 5}) {
    std::uint8_t key[kKeySize] = {7};
    std::vector<std::uint8_t> first(length);
    std::vector<std::uint8_t> second(length);
    ASSERT_TRUE(stream_.generate(key, first.data(), length));
    ASSERT_TRUE(stream_.generate(key, second.data(), length));
    if (length >= 31) {
      EXPECT_NE(first, second);
    }
    if (length > (1u << 20) + 32) {
      EXPECT_FALSE(std::equal(first.begin(), first.begin() + 32, first.begin() + (1 << 20)));
    }
  }
}

// RFC 5869, A.1. Its salt is shorter than our key; HMAC pads it with zeros to the same.
TEST_F(StreamTest, DerivesAsTheRfc) {
  std::uint8_t key[kKeySize] = {};
  for (std::uint8_t i = 0; i < 13; ++i) key[i] = i;
  const std::vector<std::uint8_t> material(22, 0x0b);
  const auto info = from_hex("f0f1f2f3f4f5f6f7f8f9");
  ASSERT_TRUE(stream_.derive(key, material.data(), material.size(), info.data(), info.size()));
  const auto expected =
      from_hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), key));
}

}  // namespace
}  // namespace clonesafe::core
