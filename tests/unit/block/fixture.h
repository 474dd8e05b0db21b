#ifndef CLONESAFE_TESTS_UNIT_BLOCK_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_BLOCK_FIXTURE_H_

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/block/disk.h"

namespace clonesafe::block {

// A folder for one test's files.
class BlockTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string make_file(const std::string& name, const std::string& contents) const {
    std::ofstream(path(name), std::ios::binary) << contents;
    return path(name);
  }
  // Sectors that are told apart by their number.
  static std::string pattern(std::uint64_t sectors, char seed = 'a') {
    std::string bytes;
    for (std::uint64_t i = 0; i < sectors; ++i)
      bytes.append(kSectorSize, static_cast<char>(seed + static_cast<char>(i % 23)));
    return bytes;
  }
  static std::string contents(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static Disk layered(const std::string& image, const std::string& layer) {
    auto base = DiskImage::open(image, Lock::kShared).value();
    const auto identity = base.identity().value();
    Disk disk(std::move(base), false);
    UniqueFd fd(::open(layer.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    auto top =
        fd ? Layer::create(std::move(fd), layer, identity) : Layer::open(layer, Lock::kExclusive);
    EXPECT_TRUE(top) << top.error().message();
    const auto added = disk.add(std::move(top).value());
    EXPECT_TRUE(added) << added.error().message();
    return disk;
  }
  static Status put(Disk& disk, std::uint64_t offset, std::string bytes) {
    const iovec buffer{bytes.data(), bytes.size()};
    return disk.write({&buffer, 1}, offset);
  }
  static std::string get(const Disk& disk, std::uint64_t offset, std::size_t size) {
    std::string bytes(size, '?');
    const iovec buffer{bytes.data(), bytes.size()};
    const auto read = disk.read({&buffer, 1}, offset);
    return read ? bytes : "error: " + read.error().message();
  }
  static std::string all(const Disk& disk) {
    return get(disk, 0, static_cast<std::size_t>(disk.capacity()));
  }

  snapshot::TemporaryDirectory folder_;
};

}  // namespace clonesafe::block

#endif  // CLONESAFE_TESTS_UNIT_BLOCK_FIXTURE_H_
