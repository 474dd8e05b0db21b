#include "libclonesafe/core/generator.h"

#include <algorithm>

#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

class GeneratorTest : public Laboratory {
 protected:
  template <typename Bytes>
  static bool holds(const core::Secrets& secrets, const Bytes& bytes) {
    const auto* begin = reinterpret_cast<const std::uint8_t*>(&secrets);
    const auto* end = begin + sizeof(secrets);
    return std::search(begin, end, std::begin(bytes), std::end(bytes)) != end;
  }
};

TEST_F(GeneratorTest, WhatWasGivenOutIsNowhereInItsStateAndItsKeyIsGone) {
  publish({});
  restart();
  core::Secrets secrets = {};
  core::StreamContext stream;
  ASSERT_TRUE(stream.create(core::process()->primitives, core::Core::kChaCha20));
  core::Generator generator(*core::process(), secrets, stream, 1000);
  for (int i = 0; i < 200; ++i) {
    // The next value stands in the block, unless the block is used up.
    Value next = {};
    const bool in_block = secrets.seeded && secrets.position + next.size() <= sizeof(secrets.block);
    if (in_block) std::memcpy(next.data(), secrets.block + secrets.position, next.size());
    std::array<std::uint8_t, core::kKeySize> key = {};
    std::memcpy(key.data(), secrets.key, key.size());
    const bool was_seeded = secrets.seeded;
    Value value = {};
    ASSERT_EQ(generator.draw(value.data(), value.size()), 0);
    if (in_block) {
      EXPECT_EQ(value, next);
    } else if (was_seeded) {
      EXPECT_FALSE(holds(secrets, key)) << "the key that made the new block";
    }
    EXPECT_FALSE(holds(secrets, value));
  }
  stream.destroy();
}

}  // namespace
}  // namespace clonesafe::laboratory
