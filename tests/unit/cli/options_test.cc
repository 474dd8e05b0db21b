#include "vmm_device/cli/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace clonesafe::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ParseSize, TakesPowersOf1024) {
  EXPECT_EQ(*parse_size("1K"), 1024u);
  EXPECT_EQ(*parse_size("256M"), std::uint64_t{256} << 20);
  EXPECT_EQ(*parse_size("2G"), std::uint64_t{2} << 30);
}

TEST(ParseSize, RefusesEverythingElse) {
  for (const char* text : {"", "M", "256", "-1M", "256MB", "1.5G", " 1M", "0M", "1m", "0x10M",
                           "18446744073709551615G", "99999999999999999999M"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_THAT(size.error().message(), HasSubstr(std::string("'") + text + "'"));
  }
}

TEST(ParseVsock, TakesCidAndPath) {
  const auto vsock = parse_vsock("cid=7,path=/run/a,b.sock");
  ASSERT_TRUE(vsock) << vsock.error().message();
  EXPECT_EQ(vsock->cid, 7u);
  EXPECT_EQ(vsock->path, "/run/a,b.sock") << "a path may hold a comma";
}

TEST(ParseVsock, RefusesWhatIsMissingOrWrong) {
  for (const char* text : {"", "cid=3", "path=/x", "cid=2,path=/x", "cid=abc,path=/x",
                           "cid=3,port=4,path=/x", "cid=4294967295,path=/x", "cid=3,path="})
    EXPECT_FALSE(parse_vsock(text)) << text;
}

TEST(ParseDisk, TakesItsParts) {
  const auto plain = parse_disk("/srv/a.img");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->image, "/srv/a.img");
  EXPECT_FALSE(plain->read_only);
  EXPECT_EQ(plain->layer, DiskArgument::Layer::kNone);
  EXPECT_TRUE(parse_disk("a.img,ro")->read_only);
  EXPECT_EQ(parse_disk("a.img,layer=temporary")->layer, DiskArgument::Layer::kTemporary);
  const auto all = parse_disk("a.img,serial=root,layer=b.layer");
  ASSERT_TRUE(all);
  EXPECT_EQ(all->layer, DiskArgument::Layer::kFile);
  EXPECT_EQ(all->layer_file, "b.layer");
  EXPECT_EQ(all->serial, "root");
}

TEST(ParseDisk, RefusesWhatIsMissingOrWrong) {
  for (const char* text : {"", ",ro", "a,rw", "a,layer=", "a,ro,layer=b", "a,layer=temporary,ro",
                           "a,serial=more-than-twenty-characters", "a,serial=\x1b"}) {
    const auto disk = parse_disk(text);
    ASSERT_FALSE(disk) << text;
    EXPECT_THAT(disk.error().message(), HasSubstr(std::string("'") + text + "': "));
  }
}

TEST(SplitList, DropsEmptyParts) {
  EXPECT_THAT(split_list("rdrand,,rdseed,"), ElementsAre("rdrand", "rdseed"));
  EXPECT_THAT(split_list(""), ElementsAre());
}

TEST(ReadFile, NamesWhatIsMissing) {
  const auto file = read_file("/no/such/kernel", 1024);
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message(), HasSubstr("/no/such/kernel"));
  EXPECT_FALSE(read_file("/", 1024)) << "a directory";
}

}  // namespace
}  // namespace clonesafe::cli
