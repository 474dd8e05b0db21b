#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/encode.h"
#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

namespace {

// The directory while it is being written, under another name. Unless it was committed, its end
// takes it and its files away.
class PartialDirectory {
 public:
  static Result<PartialDirectory> create(const std::filesystem::path& dir) {
    PartialDirectory partial;
    partial.name_ = dir.filename().string();
    auto parent = open_directory(dir.has_parent_path() ? dir.parent_path() : ".");
    if (!parent) return fail(std::move(parent).error());
    partial.parent_ = std::move(*parent);
    // Looked at again by the rename; here it saves writing gigabytes for nothing.
    if (::faccessat(partial.parent_.get(), partial.name_.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
      return fail("already exists");
    std::array<unsigned char, 8> random = {};
    if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
      return fail_errno("getrandom");
    partial.partial_name_ = partial.name_ + ".partial-";
    for (unsigned char byte : random) {
      partial.partial_name_ += "0123456789abcdef"[byte >> 4];
      partial.partial_name_ += "0123456789abcdef"[byte & 15];
    }
    if (::mkdirat(partial.parent_.get(), partial.partial_name_.c_str(), 0700) != 0)
      return fail_errno("making " + partial.partial_name_);
    partial.present_name_ = partial.partial_name_;
    partial.directory_ = UniqueFd(::openat(partial.parent_.get(), partial.partial_name_.c_str(),
                                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!partial.directory_) return fail_errno("opening " + partial.partial_name_);
    return partial;
  }

  PartialDirectory(PartialDirectory&& other) noexcept
      : parent_(std::move(other.parent_)),
        directory_(std::move(other.directory_)),
        name_(std::move(other.name_)),
        partial_name_(std::move(other.partial_name_)),
        present_name_(std::exchange(other.present_name_, {})) {}
  PartialDirectory& operator=(PartialDirectory&&) = delete;
  ~PartialDirectory() {
    if (present_name_.empty()) return;
    for (const char* file : {kStateFile, kMemoryFile}) ::unlinkat(directory_.get(), file, 0);
    ::unlinkat(parent_.get(), present_name_.c_str(), AT_REMOVEDIR);
  }

  Result<UniqueFd> create_file(const char* file) {
    UniqueFd fd(::openat(directory_.get(), file,
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return fail_errno(std::string("making ") + file);
    return fd;
  }

  // Everything in it must be on the disk already, then it gets its name, then that is on the disk
  // too: a crash at any time leaves the whole snapshot or none by this name.
  Status commit() {
    if (::fsync(directory_.get()) != 0) return fail_errno("fsync");
    if (::renameat2(parent_.get(), partial_name_.c_str(), parent_.get(), name_.c_str(),
                    RENAME_NOREPLACE) != 0) {
      if (errno == EEXIST) return fail("already exists");
      return fail_errno("rename of " + partial_name_);
    }
    present_name_ = name_;
    if (::fsync(parent_.get()) != 0) return fail_errno("fsync of the directory above");
    present_name_.clear();
    return {};
  }

 private:
  PartialDirectory() = default;
  UniqueFd parent_;
  UniqueFd directory_;
  std::string name_;          // the snapshot's own
  std::string partial_name_;  // until it is whole
  std::string present_name_;  // what the end of this object must remove; empty: nothing
};

struct MemoryWritten {
  std::vector<std::byte> chunk_digests;
  std::uint64_t data_size = 0;
};

// One pass over memory: what is hashed is what is written.
Result<MemoryWritten> write_memory(const MemoryImage& image, PartialDirectory& directory,
                                   const Progress& progress) {
  auto file = directory.create_file(kMemoryFile);
  if (!file) return fail(std::move(file).error());
  if (::ftruncate(file->get(), static_cast<off_t>(image.size())) != 0)
    return fail_errno(std::string(kMemoryFile) + " of " + std::to_string(image.size()) + " bytes");
  auto hash = Sha256::create();
  if (!hash) return fail(std::move(hash).error());
  auto zero_digests = ZeroDigests::create(*hash);
  if (!zero_digests) return fail(std::move(zero_digests).error());

  MemoryWritten result;
  std::vector<std::byte> buffer(format::kChunkSize);
  for (std::uint64_t offset = 0; offset < image.size(); offset += format::kChunkSize) {
    const auto bytes = std::span(buffer).first(static_cast<std::size_t>(
        std::min<std::uint64_t>(format::kChunkSize, image.size() - offset)));
    const bool present = image.has_any(offset, bytes.size());
    if (present) image.copy(offset, bytes);
    const bool zero = !present || all_zero(bytes);
    auto digest = zero ? zero_digests->of(*hash, bytes.size()) : hash->of(bytes);
    if (!digest) return fail(std::move(digest).error());
    result.chunk_digests.insert(result.chunk_digests.end(), digest->begin(), digest->end());
    if (!zero) {
      auto written = write_nonzero_pages(file->get(), bytes, offset, kMemoryFile);
      if (!written) return fail(std::move(written).error());
      result.data_size += *written;
    }
    if (progress) progress(offset + bytes.size(), image.size());
  }
  if (::fsync(file->get()) != 0) return fail_errno(std::string(kMemoryFile) + ": fsync");
  return result;
}

Status write_state(std::span<const std::byte> state, PartialDirectory& directory) {
  auto file = directory.create_file(kStateFile);
  if (!file) return fail(std::move(file).error());
  if (auto status = write_exactly(file->get(), state, 0, kStateFile); !status) return status;
  if (::fsync(file->get()) != 0) return fail_errno(std::string(kStateFile) + ": fsync");
  return {};
}

Result<Written> write_checked(const std::filesystem::path& dir, const WriteRequest& request) {
  auto image = MemoryImage::create(request);
  if (!image) return fail(std::move(image).error());
  auto directory = PartialDirectory::create(dir);
  if (!directory) return fail(std::move(directory).error());
  auto memory = write_memory(*image, *directory, request.progress);
  if (!memory) return fail(std::move(memory).error());
  auto state = encode_state(request, *image, std::move(memory->chunk_digests), Kept::in_files);
  if (!state) return fail(std::move(state).error());
  // What a reader would refuse must not be written: the source may be gone when that comes out.
  auto check = parse_state(*state, kStateFile);
  if (!check) return fail(std::move(check).error());
  if (auto status = write_state(*state, *directory); !status)
    return fail(std::move(status).error());
  if (auto status = directory->commit(); !status) return fail(std::move(status).error());
  return Written{
      .id = check->header().id,
      .digest = check->digest(),
      .memory_size = image->size(),
      .data_size = memory->data_size,
      .state_size = state->size(),
      .pages = image->changed() ? image->changed()->count() : image->size() / format::kPageSize};
}

}  // namespace

Result<Written> write(const std::filesystem::path& dir, const WriteRequest& request) {
  // "out/" means "out".
  const auto target = dir.has_filename() ? dir : dir.parent_path();
  auto written = write_checked(target, request);
  if (!written) return fail(std::move(written).error(), "snapshot " + dir.string());
  return written;
}

}  // namespace clonesafe::snapshot
