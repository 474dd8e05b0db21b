#include "libclonesafe/core/stream.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "libclonesafe/core/seams.h"

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
    ASSERT_TRUE(stream_.create(primitives, Core::kChaCha20));
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

// CTR_DRBG over AES-256 with the derivation function, of NIST's validation vectors (drbgvectors,
// no reseed): instantiated with a personalization string, the second 64 bytes are what counts.
class CtrDrbgTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (primitives_.hmac_sha256 != nullptr) return;
    ASSERT_TRUE(primitives_.fetch());
    ASSERT_TRUE(primitives_.has_ctr_drbg());
    EVP_RAND_free(primitives_.kernel_source);
    primitives_.kernel_source = EVP_RAND_fetch(nullptr, "TEST-RAND", nullptr);
    ASSERT_NE(primitives_.kernel_source, nullptr);
  }
  ~CtrDrbgTest() override { seams_for_testing = {}; }

  StreamContext instance(const std::vector<std::uint8_t>& entropy,
                         const std::vector<std::uint8_t>& nonce) {
    seams_for_testing.drbg_entropy = entropy.data();
    seams_for_testing.drbg_entropy_size = entropy.size();
    seams_for_testing.drbg_nonce = nonce.data();
    StreamContext stream;
    EXPECT_TRUE(stream.create(primitives_, Core::kCtrDrbg));
    return stream;
  }
  static inline Primitives primitives_;  // for good: see Primitives
};

TEST_F(CtrDrbgTest, GivesWhatNistsVectorsSay) {
  struct Vector {
    const char* entropy;
    const char* nonce;
    const char* personalization;
    const char* output;
  };
  for (const Vector& vector :
       {Vector{"75d5b782c5345cee69e045844783ba53a315882282740a45b4a04fd9e77ec1b6",
               "175c36b3964726caab9b5a127ee9cd91",
               "c7b45b62adabf345dcc018e2eafe3ef212a253edc9460f12a7c0260fe959df6c",
               "5c74c046d200cef43613eeb2b0835838609c4ae2697889d51c179a27371b7421"
               "d9d28d038bd22aaa7be1e31ca09f3cf3d3ea1d3f18340d9cc73dd8415122caaa"},
        Vector{"1f444891ec1d5d060bd1b037363bd750df9017b27479e21185b9497f6ba0311f",
               "73b5497976d671a260b34fa314ccdd74",
               "d70d63e58d23123eba0e5a6bde0779a8866683369ee1c1d1dde81a146717d8bc",
               "4356afd04081e8c0f4c446a622cd3f049e7e6e8f906c07600da0671eeae8f0a7"
               "32f45f7b99ee98c1b061335d0d5896da1e1c081e2a6f25c565fc47dfffebbe98"}}) {
    StreamContext stream = instance(from_hex(vector.entropy), from_hex(vector.nonce));
    std::uint8_t personalization[kKeySize];
    std::ranges::copy(from_hex(vector.personalization), personalization);
    ASSERT_TRUE(stream.reseed_drbg_for_testing(personalization));
    std::uint8_t key[kKeySize] = {};
    std::vector<std::uint8_t> output(64);
    ASSERT_TRUE(stream.generate(key, output.data(), output.size()));
    ASSERT_TRUE(stream.generate(key, output.data(), output.size()));
    EXPECT_EQ(output, from_hex(vector.output));
    stream.destroy();
  }
}

// With equal bytes of the kernel's, what the library knows of the restore makes the difference.
TEST_F(CtrDrbgTest, MaterialSeparatesWhatTheKernelDoesNot) {
  const std::vector<std::uint8_t> entropy(4096, 7);
  const std::vector<std::uint8_t> nonce(16, 8);
  const auto draw = [&](std::uint8_t first, std::uint8_t second) {
    StreamContext stream = instance(entropy, nonce);
    std::uint8_t key[kKeySize] = {};
    const std::uint8_t info = 0;
    std::vector<std::uint8_t> output(70'000);
    EXPECT_TRUE(stream.derive(key, &first, 1, &info, 1));
    EXPECT_TRUE(stream.derive(key, &second, 1, &info, 1));
    EXPECT_TRUE(stream.generate(key, output.data(), output.size()));
    stream.destroy();
    return output;
  };
  EXPECT_EQ(draw(1, 2), draw(1, 2));
  EXPECT_NE(draw(1, 2), draw(1, 3)) << "a reseed without its material";
  EXPECT_NE(draw(1, 2), draw(4, 2)) << "an instance without its material";
}

}  // namespace
}  // namespace clonesafe::core
