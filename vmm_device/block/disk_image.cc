#include "vmm_device/block/disk_image.h"

#include <sys/stat.h>

#include <algorithm>

#include "vmm_device/snapshot/digest.h"

namespace clonesafe::block {
namespace {

constexpr std::uint64_t kHeadSize = 65536;

}  // namespace

bool matches(const ImageIdentity& expected, const ImageIdentity& found, Match match) {
  return match == Match::kUnwritten ? expected == found
                                    : expected.size == found.size && expected.head == found.head;
}

std::string difference(const ImageIdentity& expected, const ImageIdentity& found) {
  if (expected.size != found.size)
    return "it has " + std::to_string(found.size) + " bytes, not " + std::to_string(expected.size);
  if (expected.head != found.head) return "its contents are others";
  return "it was written since";
}

Result<DiskImage> DiskImage::open(const std::string& path, Lock lock) {
  auto file = BackingFile::open(path, lock);
  if (!file) return fail(std::move(file).error());
  if (file->size() == 0) return fail(path + ": empty");
  if (file->size() % kSectorSize != 0)
    return fail(path + ": " + std::to_string(file->size()) + " bytes are not whole sectors of " +
                std::to_string(kSectorSize));
  return DiskImage(std::move(*file));
}

Result<ImageIdentity> DiskImage::identity() const {
  struct stat status{};
  if (::fstat(file_.fd(), &status) != 0) return fail_errno(file_.name() + ": fstat");
  std::vector<std::byte> head(static_cast<std::size_t>(std::min(kHeadSize, file_.size())));
  const iovec buffer{head.data(), head.size()};
  if (auto read = file_.read({&buffer, 1}, 0); !read) return fail(std::move(read).error());
  auto digest = snapshot::sha256(head);
  if (!digest) return fail(std::move(digest).error());
  ImageIdentity identity{.size = file_.size(), .head = *digest};
  if (!file_.is_device()) {
    identity.size = static_cast<std::uint64_t>(status.st_size);
    identity.modified_ns =
        static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
  }
  return identity;
}

}  // namespace clonesafe::block
