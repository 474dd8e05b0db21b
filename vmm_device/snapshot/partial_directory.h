#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_PARTIAL_DIRECTORY_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_PARTIAL_DIRECTORY_H_

#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::snapshot {

// A snapshot's directory while it is being written, under another name, and locked. Unless it was
// committed, the end of this object takes it and its files away. One that a killed writer left is
// taken away by the next writer of the same snapshot: nobody holds its lock.
class PartialDirectory {
 public:
  // `folder` is as in WriteRequest.
  static Result<PartialDirectory> create(const std::filesystem::path& dir, int folder);
  PartialDirectory(PartialDirectory&& other) noexcept
      : parent_(std::move(other.parent_)),
        directory_(std::move(other.directory_)),
        name_(std::move(other.name_)),
        partial_name_(std::move(other.partial_name_)),
        present_name_(std::exchange(other.present_name_, {})) {}
  PartialDirectory& operator=(PartialDirectory&&) = delete;
  ~PartialDirectory();

  Result<UniqueFd> create_file(const char* file);

  // Everything in it must be on the disk already, then it gets its name, then that is on the disk
  // too: a crash at any time leaves the whole snapshot or none by this name. `renamed` is called in
  // between; its error undoes all.
  Status commit(const std::function<Status()>& renamed);

 private:
  PartialDirectory() = default;
  Status make();
  void remove_leftovers() const;

  UniqueFd parent_;
  UniqueFd directory_;
  std::string name_;          // the snapshot's own
  std::string partial_name_;  // until it is whole
  std::string present_name_;  // what the end of this object must remove; empty: nothing
};

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_PARTIAL_DIRECTORY_H_
