#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

Result<Snapshot> read_state(int file, const std::string& name, const Key* key) {
  auto size = file_size(file, name);
  if (!size) return fail(std::move(size).error());
  // Before the read: a file of any length must not become memory of that length.
  if (*size > format::kHeaderLength + format::kMaxPayload)
    return fail(name + ": " + std::to_string(*size) + " bytes are over the limit of 64 MiB");
  std::vector<std::byte> state(static_cast<std::size_t>(*size));
  if (auto status = read_exactly(file, state, 0, name); !status)
    return fail(std::move(status).error());
  return parse_state(std::move(state), name, Origin::file, key);
}

}  // namespace

Result<Snapshot> open(const std::filesystem::path& dir, const Key* key) {
  const std::string name = (dir / kStateFile).string();
  auto directory = open_directory(dir);
  if (!directory) return fail(std::move(directory).error());
  auto file = open_file(directory->get(), kStateFile, name);
  if (!file) {
    if (file.error().error_number() == ENOENT &&
        ::faccessat(directory->get(), kConsumedStateFile, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
      return fail(dir.string() + ": was used up by a move (restore --move), it can't be restored");
    return fail(std::move(file).error());
  }
  auto snapshot = read_state(file->get(), name, key);
  if (snapshot) snapshot->directory_ = dir;
  return snapshot;
}

Result<Snapshot> open_parent(const std::filesystem::path& dir) {
  auto directory = open_directory(dir);
  if (!directory) return fail(std::move(directory).error());
  const char* present = ::faccessat(directory->get(), kStateFile, F_OK, AT_SYMLINK_NOFOLLOW) == 0
                            ? kStateFile
                            : kConsumedStateFile;
  const std::string name = (dir / present).string();
  auto file = open_file(directory->get(), present, name);
  if (!file) return fail(std::move(file).error());
  auto snapshot = read_state(file->get(), name, nullptr);
  if (!snapshot) return snapshot;
  snapshot->directory_ = dir;
  snapshot->state_file_ = present;
  return snapshot;
}

Status Snapshot::refuse_other_entries() const {
  const std::filesystem::path& dir = directory_;
  const std::unique_ptr<DIR, CloseDirectory> listing(::opendir(dir.c_str()));
  if (!listing) return fail_errno(dir.string());
  for (;;) {
    errno = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this listing
    const dirent* entry = ::readdir(listing.get());
    if (entry == nullptr) {
      if (errno != 0) return fail_errno(dir.string() + ": readdir");
      return {};
    }
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && name != state_file_ && name != kMemoryFile &&
        std::ranges::find(attached_files_, name, &AttachedFile::name) == attached_files_.end())
      return fail((dir / name).string() + ": no part of a snapshot");
  }
}

Result<Snapshot> verify(const std::filesystem::path& dir, const Progress& progress) {
  auto snapshot = open(dir);
  if (!snapshot) return snapshot;
  if (auto status = snapshot->refuse_other_entries(); !status)
    return fail(std::move(status).error());
  if (auto status = snapshot->verify_memory(progress); !status)
    return fail(std::move(status).error());
  if (auto status = snapshot->verify_attached(); !status) return fail(std::move(status).error());
  return snapshot;
}

Status Snapshot::consume() const {
  const std::string what = directory_.string() + ": using the snapshot up for a move";
  auto directory = open_directory(directory_);
  if (!directory) return fail(std::move(directory).error());
  if (::renameat2(directory->get(), kStateFile, directory->get(), kConsumedStateFile,
                  RENAME_NOREPLACE) != 0) {
    if (errno == ENOENT || errno == EEXIST)
      return fail(directory_.string() + ": was used up by another move meanwhile");
    return fail_errno(what);
  }
  // The host may crash once the clone runs; the snapshot must not be there again after that.
  if (::fsync(directory->get()) != 0) return fail_errno(what + ": fsync");
  return {};
}

}  // namespace clonesafe::snapshot
