#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_KEY_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_KEY_H_

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::snapshot {

// The secret that authenticates snapshots: the bytes of a file. Wiped at the end.
class Key {
 public:
  static constexpr std::size_t kMinSize = 16;
  static constexpr std::size_t kMaxSize = 4096;

  // A regular file that only its owner may read.
  static Result<Key> read(const std::filesystem::path& file);
  // The same file, open for reading; `name` is what errors call it.
  static Result<Key> read_open(int file, const std::string& name);

  Key(Key&& other) noexcept = default;
  Key& operator=(Key&& other) noexcept = default;
  ~Key();
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit Key(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  std::vector<std::byte> bytes_;
};

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_KEY_H_
