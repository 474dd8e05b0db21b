#include "vmm_device/core/state_codec.h"

#include <gtest/gtest.h>

namespace clonesafe {
namespace {

TEST(StateCodec, GivesBackWhatWasPut) {
  StateEncoder encoder;
  encoder.put(std::uint16_t{7});
  encoder.put_struct(std::uint64_t{9});
  StateDecoder decoder("device", encoder.bytes());
  EXPECT_EQ(decoder.get<std::uint16_t>().value(), 7);
  EXPECT_EQ(decoder.get_struct<std::uint64_t>().value(), 9u);
  EXPECT_TRUE(decoder.finish());
}

TEST(StateCodec, RefusesBytesCutAnywhere) {
  StateEncoder encoder;
  encoder.put(std::uint32_t{1});
  encoder.put_struct(std::uint64_t{2});
  for (std::size_t size = 0; size < encoder.bytes().size(); ++size) {
    StateDecoder decoder("device", std::span(encoder.bytes()).first(size));
    auto first = decoder.get<std::uint32_t>();
    EXPECT_FALSE(first && decoder.get_struct<std::uint64_t>()) << size;
  }
}

TEST(StateCodec, SaysWhereAndWhat) {
  StateEncoder encoder;
  encoder.put(std::uint32_t{1000});
  StateDecoder decoder("vcpu 0", encoder.bytes());
  EXPECT_EQ(decoder.get_bytes(100).error().message(),
            "vcpu 0, byte 4: length 1000 is over the limit 100");
}

TEST(StateCodec, RefusesBytesLeftOver) {
  StateEncoder encoder;
  encoder.put(std::uint32_t{1000});
  StateDecoder decoder("vcpu 0", encoder.bytes());
  EXPECT_TRUE(decoder.get<std::uint16_t>());
  EXPECT_EQ(decoder.finish().error().message(), "vcpu 0, byte 2: 2 bytes too many");
}

}  // namespace
}  // namespace clonesafe
