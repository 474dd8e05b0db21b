#include "vmm_device/machine/bzimage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/machine/kernel_image.h"

namespace clonesafe {
namespace {

using testing::HasSubstr;

std::string refusal(const std::vector<std::byte>& file) {
  const auto image = parse_bzimage(file);
  return image ? "accepted" : image.error().message();
}

TEST(BzImage, GivesTheProtectedModePartAndWhatTheKernelNeeds) {
  const auto file = make_kernel_image(0x2000);
  const auto image = parse_bzimage(file);
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(image->protected_mode.data(), file.data() + 1024);
  EXPECT_EQ(image->protected_mode.size(), 0x2000u);
  EXPECT_EQ(image->preferred_address, 0x1000000u);
  EXPECT_EQ(image->init_size, 0x800000u);
  EXPECT_EQ(image->initrd_address_max, 0x7fffffffu);
}

TEST(BzImage, TakesFourSetupSectorsWhereTheFieldIsZero) {
  auto file = make_kernel_image(0x4000);
  patch<std::uint8_t>(file, 0x1f1, 0);
  patch<std::uint32_t>(file, 0x1f4, 0x100);
  const auto image = parse_bzimage(file);
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(image->protected_mode.data(), file.data() + std::size_t{5} * 512);
}

TEST(BzImage, ZeroesWhatLiesPastTheHeadersOwnEnd) {
  auto file = make_kernel_image();
  patch<std::uint8_t>(file, 0x201, 0x66 - 4);  // a shorter header: ends before the last field
  patch<std::uint32_t>(file, 0x264, 0xffffffff);
  const auto image = parse_bzimage(file);
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(+image->header.handover_offset, 0u);
}

TEST(BzImage, RefusesWhatIsNoKernel) {
  EXPECT_THAT(refusal({}), HasSubstr("not a Linux kernel"));
  EXPECT_THAT(refusal(std::vector<std::byte>(4096)), HasSubstr("HdrS"));
}

TEST(BzImage, RefusesAnOldProtocol) {
  auto file = make_kernel_image();
  patch<std::uint16_t>(file, 0x206, 0x20b);
  EXPECT_THAT(refusal(file), HasSubstr("boot protocol 2.11 is too old"));
}

TEST(BzImage, RefusesA32BitKernel) {
  auto file = make_kernel_image();
  patch<std::uint16_t>(file, 0x236, 0);
  EXPECT_THAT(refusal(file), HasSubstr("64-bit"));
}

TEST(BzImage, RefusesAFileThatIsCutShort) {
  auto file = make_kernel_image(0x1000);
  file.resize(file.size() - 1);
  EXPECT_THAT(refusal(file), HasSubstr("cut short"));
  file.resize(1024);
  EXPECT_THAT(refusal(file), HasSubstr("cut short"));
}

TEST(BzImage, RefusesSizesThatWouldWrap) {
  auto file = make_kernel_image();
  patch<std::uint64_t>(file, 0x258, ~std::uint64_t{0} - 4096);
  EXPECT_THAT(refusal(file), HasSubstr("header asks for"));
  file = make_kernel_image();
  patch<std::uint32_t>(file, 0x260, 0);
  EXPECT_THAT(refusal(file), HasSubstr("header asks for"));
}

TEST(BzImage, SurvivesEveryTruncation) {
  const auto whole = make_kernel_image(0x800);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::byte> file(whole.begin(),
                                      whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(parse_bzimage(file)) << size;
  }
}

}  // namespace
}  // namespace clonesafe
