#include "vmm_device/block/layer.h"

#include <signal.h>
#include <sys/resource.h>

#include <cstring>

#include "tests/unit/block/fixture.h"
#include "vmm_device/snapshot/digest.h"

namespace clonesafe::block {
namespace {

using testing::HasSubstr;

class LayerTest : public BlockTest {
 protected:
  // A layer over 10 clusters, of which 3 is written.
  std::string make_layer() {
    const std::string image = make_file("image", pattern(80));
    Disk disk = layered(image, path("layer"));
    EXPECT_TRUE(put(disk, 3 * Layer::kClusterSize, pattern(8, 'A')));
    EXPECT_TRUE(disk.flush());
    return path("layer");
  }
  void patch(const std::string& file, std::size_t at, const std::string& bytes) {
    std::fstream out(file, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(static_cast<std::streamoff>(at));
    out << bytes;
  }
  // As a forger would do it: the digest fits.
  void patch_and_sign(const std::string& file, std::size_t at, const std::string& bytes) {
    patch(file, at, bytes);
    const std::string header = contents(file).substr(0, format::kHeaderLength);
    const auto digest = snapshot::sha256(
        std::as_bytes(std::span(header).first(offsetof(format::LayerHeader, digest))));
    patch(file, offsetof(format::LayerHeader, digest),
          std::string(reinterpret_cast<const char*>(digest->data()), digest->size()));
  }
  void expect_refused(const std::string& file, const std::string& why) {
    const auto layer = Layer::open(file, Lock::kExclusive);
    ASSERT_FALSE(layer) << why;
    EXPECT_THAT(layer.error().message(), HasSubstr(file));
    EXPECT_THAT(layer.error().message(), HasSubstr(why));
  }
};

TEST_F(LayerTest, KeepsWhatWasFlushed) {
  const std::string file = make_layer();
  const auto layer = Layer::open(file, Lock::kShared);
  ASSERT_TRUE(layer) << layer.error().message();
  EXPECT_EQ(layer->count(), 1u);
  EXPECT_TRUE(layer->has(3));
  std::string bytes(4096, '?');
  const iovec buffer{bytes.data(), bytes.size()};
  ASSERT_TRUE(layer->read({&buffer, 1}, 3 * Layer::kClusterSize));
  EXPECT_EQ(bytes, pattern(8, 'A'));
}

// The data of a cluster is in the file before its bit in the map is.
TEST_F(LayerTest, WhatWasNotFlushedIsNotInTheMap) {
  const std::string file = make_layer();
  Disk disk = layered(path("image"), file);
  ASSERT_TRUE(put(disk, 5 * Layer::kClusterSize, pattern(8, 'B')));
  // Another process would see this file after a crash of ours.
  const std::string copy = make_file("crashed", contents(file));
  const auto layer = Layer::open(copy, Lock::kShared);
  ASSERT_TRUE(layer) << layer.error().message();
  EXPECT_TRUE(layer->has(3));
  EXPECT_FALSE(layer->has(5));
  ASSERT_TRUE(disk.flush());
  EXPECT_TRUE(Layer::open(make_file("flushed", contents(file)), Lock::kShared)->has(5));
}

// At each step of a flush the file holds either nothing of a cluster or all of it, and what was not
// done is done by the next flush.
TEST_F(LayerTest, AFlushWritesDataThenTheMap) {
  const std::string file = make_layer();
  auto layer = Layer::open(file, Lock::kExclusive).value();
  std::string bytes = pattern(8, 'B');
  const iovec buffer{bytes.data(), bytes.size()};
  ASSERT_TRUE(layer.write({&buffer, 1}, 5 * Layer::kClusterSize));
  std::vector<std::string> steps;
  bool stop = true;
  layer.stop_flush_for_testing([&](const std::string& step) -> Status {
    const auto crashed = Layer::open(make_file("crashed", contents(file)), Lock::kShared);
    steps.push_back(step);
    EXPECT_EQ(crashed->has(5), steps.size() > 2) << steps.size();
    return stop ? fail("stopped") : Status();
  });
  EXPECT_FALSE(layer.flush());
  stop = false;
  EXPECT_TRUE(layer.flush());
  EXPECT_THAT(steps, testing::ElementsAre("data synced", "data synced", "map page written"));
  EXPECT_TRUE(layer.flush());
  EXPECT_EQ(steps.size(), 4u) << "a map that is on the disk was written again";
}

TEST_F(LayerTest, IsLockedLikeAnImage) {
  const std::string file = make_layer();
  const auto writer = Layer::open(file, Lock::kExclusive);
  ASSERT_TRUE(writer);
  expect_refused(file, "in use by another process");
}

TEST_F(LayerTest, LiesOverItsOwnImageOnly) {
  const std::string file = make_layer();
  const std::string other = make_file("other", pattern(80, 'z'));
  Disk disk(DiskImage::open(other, Lock::kShared).value(), false);
  const auto added = disk.add(Layer::open(file, Lock::kExclusive).value());
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().message(),
            file + ": a layer over another image than " + other + " is: its contents are others");
}

TEST_F(LayerTest, RefusesDamageAndForgeries) {
  const std::string good = contents(make_layer());
  const auto fresh = [&] { return make_file("bad", good); };
  const auto number = [](std::uint64_t value, std::size_t size) {
    return std::string(reinterpret_cast<const char*>(&value), size);
  };
  expect_refused(make_file("short", good.substr(0, 100)), "shorter than a header");
  expect_refused(make_file("cut", good.substr(0, good.size() - 1)), "layer of ");
  expect_refused(make_file("long", good + "x"), "layer of ");
  expect_refused(make_file("text", std::string(8192, 'x')), "another magic");
  std::string file = fresh();
  patch(file, 0x20, "x");
  expect_refused(file, "damaged header");
  patch_and_sign(fresh(), 0x08, number(2, 4));
  expect_refused(file, "layer of version 2, this program reads 1");
  patch_and_sign(fresh(), 0x0c, number(512, 4));
  expect_refused(file, "header of 512 bytes");
  patch_and_sign(fresh(), 0x10, number(65536, 4));
  expect_refused(file, "clusters of 65536 bytes");
  for (const std::uint64_t capacity : {std::uint64_t{0}, std::uint64_t{511}, ~std::uint64_t{511},
                                       (std::uint64_t{4} << 40) + 512}) {
    patch_and_sign(fresh(), 0x18, number(capacity, 8));
    expect_refused(file, "whole sectors, 1 to 4 TiB, are possible");
  }
  patch_and_sign(fresh(), 0x18, number(std::uint64_t{1} << 30, 8));
  expect_refused(file, "data begins at 8192");
  patch_and_sign(fresh(), 0x48, number(4096, 8));
  expect_refused(file, "data begins at 4096");
  patch_and_sign(fresh(), 0x60, "x");
  expect_refused(file, "reserved fields");
  patch(fresh(), 0x200, "x");
  expect_refused(file, "reserved fields");
  patch(fresh(), 0x300, "x");
  expect_refused(file, "reserved fields");
  // Bits 10 to 15 of the map are of no cluster.
  patch(fresh(), format::kHeaderLength + 1, "\x04");
  expect_refused(file, "behind the end of its disk");
}

TEST_F(LayerTest, AFullDiskIsAnErrorAndWhatWasThereStays) {
  const std::string file = make_layer();
  Disk disk = layered(path("image"), file);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit limit = before;
  limit.rlim_cur = format::kHeaderLength + 4096 + 4 * Layer::kClusterSize;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto failed = put(disk, 7 * Layer::kClusterSize, pattern(8, 'B'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().error_number(), EFBIG);
  EXPECT_EQ(get(disk, 7 * Layer::kClusterSize, 4096),
            contents(path("image")).substr(7 * 4096, 4096))
      << "a cluster that could not be written is the base's";
  EXPECT_EQ(get(disk, 3 * Layer::kClusterSize, 4096), pattern(8, 'A'));
}

}  // namespace
}  // namespace clonesafe::block
