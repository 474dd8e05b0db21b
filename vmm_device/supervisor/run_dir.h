#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_RUN_DIR_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_RUN_DIR_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::supervisor {

// Where the clones of one restore have their folders, 1 to count, each 0700.
class RunDir {
 public:
  // Makes `path` (which must not exist, or be an empty directory), or a new directory if none is
  // given, and the folders in it. After an error nothing that it made is left.
  static Result<RunDir> create(const std::optional<std::filesystem::path>& path,
                               std::uint32_t count);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path clone_folder(std::uint32_t index) const {
    return path_ / std::to_string(index);
  }
  // For a restore that fails before any clone runs: takes away what create() made.
  void remove();

 private:
  std::filesystem::path path_;
  std::uint32_t folders_ = 0;
  bool made_ = false;
};

// Replaces `file` by one with `text` in it, at once: a reader sees the old or the new.
Status replace_file(const std::filesystem::path& file, const std::string& text);

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_RUN_DIR_H_
