#include "vmm_device/snapshot/partial_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <vector>

#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

namespace {

constexpr const char* kInfix = ".partial-";

UniqueFd open_child(int parent, const std::string& name) {
  return UniqueFd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

Result<UniqueFd> copy_of(int folder) {
  UniqueFd copy(::fcntl(folder, F_DUPFD_CLOEXEC, 3));
  if (!copy) return fail_errno("the directory above it");
  return copy;
}

// The names in a directory, those of which it could find out. By descriptor: a process in a jail
// has no /proc.
std::vector<std::string> names_in(int directory) {
  struct Close {
    void operator()(DIR* entries) const { ::closedir(entries); }
  };
  std::vector<std::string> names;
  UniqueFd own(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, Close> entries(own ? ::fdopendir(own.get()) : nullptr);
  if (!entries) return names;
  (void)own.release();  // the stream's now
  // NOLINTNEXTLINE(concurrency-mt-unsafe): of a stream that no other thread has
  while (const dirent* entry = ::readdir(entries.get())) names.emplace_back(entry->d_name);
  return names;
}

void remove_directory(int parent, int directory, const std::string& name) {
  // Whatever a writer had got to; "." and ".." are not removed.
  for (const std::string& file : names_in(directory)) ::unlinkat(directory, file.c_str(), 0);
  ::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
}

// While it lives, no writer is between making its directory and locking it (if exclusive), or no
// other one cleans up (if shared). Not waited for: whoever can open the directory can hold it.
class ParentLock {
 public:
  ParentLock(int parent, int how) : fd_(::openat(parent, ".", O_RDONLY | O_CLOEXEC)) {
    held_ = fd_ && ::flock(fd_.get(), how | LOCK_NB) == 0;
  }
  bool held() const { return held_; }

 private:
  UniqueFd fd_;  // of its own: a lock goes with the last descriptor of its open file
  bool held_ = false;
};

}  // namespace

Result<PartialDirectory> PartialDirectory::create(const std::filesystem::path& dir, int folder) {
  PartialDirectory partial;
  partial.name_ = dir.filename().string();
  auto parent = folder < 0 ? open_directory(dir.has_parent_path() ? dir.parent_path() : ".")
                           : copy_of(folder);
  if (!parent) return fail(std::move(parent).error());
  partial.parent_ = std::move(*parent);
  // Looked at again by the rename; here it saves writing gigabytes for nothing.
  if (::faccessat(partial.parent_.get(), partial.name_.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
    return fail("already exists");
  partial.remove_leftovers();
  if (auto made = partial.make(); !made) return fail(std::move(made).error());
  return partial;
}

Status PartialDirectory::make() {
  std::array<unsigned char, 8> random = {};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    return fail_errno("getrandom");
  partial_name_ = name_ + kInfix;
  for (unsigned char byte : random) {
    partial_name_ += "0123456789abcdef"[byte >> 4];
    partial_name_ += "0123456789abcdef"[byte & 15];
  }
  const ParentLock nobody_cleans_up(parent_.get(), LOCK_SH);
  if (::mkdirat(parent_.get(), partial_name_.c_str(), 0700) != 0)
    return fail_errno("making " + partial_name_);
  present_name_ = partial_name_;
  directory_ = open_child(parent_.get(), partial_name_);
  if (!directory_) return fail_errno("opening " + partial_name_);
  // Where the file system has no locks, leftovers are never taken away.
  (void)::flock(directory_.get(), LOCK_EX | LOCK_NB);
  return {};
}

void PartialDirectory::remove_leftovers() const {
  const ParentLock nobody_begins(parent_.get(), LOCK_EX);
  if (!nobody_begins.held()) return;
  for (const std::string& name : names_in(parent_.get())) {
    if (!name.starts_with(name_ + kInfix) || name.size() != name_.size() + 9 + 16) continue;
    const UniqueFd leftover = open_child(parent_.get(), name);
    if (leftover && ::flock(leftover.get(), LOCK_EX | LOCK_NB) == 0)
      remove_directory(parent_.get(), leftover.get(), name);
  }
}

PartialDirectory::~PartialDirectory() {
  if (!present_name_.empty()) remove_directory(parent_.get(), directory_.get(), present_name_);
}

Result<UniqueFd> PartialDirectory::create_file(const char* file) {
  UniqueFd fd(
      ::openat(directory_.get(), file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(std::string("making ") + file);
  return fd;
}

Status PartialDirectory::commit(const std::function<Status()>& renamed) {
  if (::fsync(directory_.get()) != 0) return fail_errno("fsync");
  if (::renameat2(parent_.get(), partial_name_.c_str(), parent_.get(), name_.c_str(),
                  RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) return fail("already exists");
    return fail_errno("rename of " + partial_name_);
  }
  present_name_ = name_;
  if (auto go_on = renamed(); !go_on) return go_on;
  if (::fsync(parent_.get()) != 0) return fail_errno("fsync of the directory above");
  present_name_.clear();
  return {};
}

}  // namespace clonesafe::snapshot
