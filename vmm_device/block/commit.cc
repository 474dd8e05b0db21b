#include "vmm_device/block/commit.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "vmm_device/block/disk.h"
#include "vmm_device/snapshot/digest.h"

namespace clonesafe::block {
namespace {

constexpr std::uint64_t kPiece = std::uint64_t{1} << 20;

Status reached(const CommitRequest& request, const char* step) {
  return request.stop_for_testing ? request.stop_for_testing(step) : Status();
}

Result<Committed> into_image(const CommitRequest& request) {
  auto layer = Layer::open(request.layer, Lock::kExclusive);
  if (!layer) return fail(std::move(layer).error());
  auto image = DiskImage::open(request.image, Lock::kExclusive);
  if (!image) return fail(std::move(image).error());
  auto identity = image->identity();
  if (!identity) return fail(std::move(identity).error());
  // Of an image that is being written only the length is as it was.
  if (layer->being_committed() ? layer->capacity() != identity->size : layer->base() != *identity)
    return fail(request.layer + ": a layer over another image than " + request.image +
                " is: " + difference(layer->base(), *identity));
  if (auto marked = layer->mark_committing(); !marked) return fail(std::move(marked).error());
  if (auto go_on = reached(request, "marked"); !go_on) return fail(std::move(go_on).error());
  Committed done{.capacity = layer->capacity()};
  std::vector<std::byte> bytes(Layer::kClusterSize);
  for (std::uint64_t cluster = 0; cluster < layer->clusters(); ++cluster) {
    if (!layer->has(cluster)) continue;
    const std::uint64_t offset = cluster * Layer::kClusterSize;
    const iovec buffer{bytes.data(),
                       std::min<std::uint64_t>(bytes.size(), layer->capacity() - offset)};
    if (auto read = layer->read({&buffer, 1}, offset); !read) return fail(std::move(read).error());
    const bool zero = snapshot::all_zero(std::span(bytes).first(buffer.iov_len));
    auto put = zero ? image->file().punch(offset, buffer.iov_len)
                    : image->file().write({&buffer, 1}, offset);
    if (!put) return fail(std::move(put).error());
    ++done.clusters;
    if (auto go_on = reached(request, "cluster written"); !go_on)
      return fail(std::move(go_on).error());
  }
  if (auto synced = image->file().sync(); !synced) return fail(std::move(synced).error());
  return done;
}

// A file without a name in the directory that the image shall be in: nothing is left of one that
// doesn't get as far as a name.
Result<UniqueFd> unnamed_file(const std::filesystem::path& out) {
  const auto folder = out.has_parent_path() ? out.parent_path() : std::filesystem::path(".");
  UniqueFd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(folder.string());
  return fd;
}

Status give_name(int fd, const std::string& out) {
  const std::string unnamed = "/proc/self/fd/" + std::to_string(fd);
  if (::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, out.c_str(), AT_SYMLINK_FOLLOW) != 0)
    return fail_errno(out);
  const auto folder = std::filesystem::path(out).parent_path();
  const UniqueFd above(
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!above || ::fsync(above.get()) != 0) return fail_errno(out + ": sync of its directory");
  return {};
}

Result<Committed> into_new(const CommitRequest& request, const std::string& out) {
  auto layer = Layer::open(request.layer, Lock::kShared);
  if (!layer) return fail(std::move(layer).error());
  Committed done{.clusters = layer->count(), .capacity = layer->capacity()};
  auto image = DiskImage::open(request.image, Lock::kShared);
  if (!image) return fail(std::move(image).error());
  Disk disk(std::move(*image), true);
  if (auto added = disk.add(std::move(*layer)); !added) return fail(std::move(added).error());
  if (::access(out.c_str(), F_OK) == 0) return fail(out + ": exists already");
  auto fd = unnamed_file(out);
  if (!fd) return fail(std::move(fd).error());
  if (::ftruncate(fd->get(), static_cast<off_t>(disk.capacity())) != 0) return fail_errno(out);
  BackingFile file(std::move(*fd), out, disk.capacity());
  std::vector<std::byte> bytes(kPiece);
  for (std::uint64_t offset = 0; offset < disk.capacity(); offset += kPiece) {
    const iovec buffer{bytes.data(), std::min<std::uint64_t>(kPiece, disk.capacity() - offset)};
    if (auto read = disk.read({&buffer, 1}, offset); !read) return fail(std::move(read).error());
    if (snapshot::all_zero(std::span(bytes).first(buffer.iov_len))) continue;
    if (auto put = file.write({&buffer, 1}, offset); !put) return fail(std::move(put).error());
    if (auto go_on = reached(request, "piece written"); !go_on)
      return fail(std::move(go_on).error());
  }
  if (auto synced = file.sync(); !synced) return fail(std::move(synced).error());
  if (auto named = give_name(file.fd(), out); !named) return fail(std::move(named).error());
  return done;
}

}  // namespace

Result<Committed> commit(const CommitRequest& request) {
  return request.out ? into_new(request, *request.out) : into_image(request);
}

}  // namespace clonesafe::block
