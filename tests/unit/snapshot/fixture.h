#ifndef CLONESAFE_TESTS_UNIT_SNAPSHOT_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_SNAPSHOT_FIXTURE_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

// A directory of its own, removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "clonesafe-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

inline std::vector<std::byte> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return bytes_of(text);
}

inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good());
}

// Two regions of guest memory, 34 pages, so two whole chunks (one spans both regions) and a part of
// one. Pages 0, 5 and 33 of the file hold data, the rest is zeros.
class SmallGuest {
 public:
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kLowPages = 20;
  static constexpr std::uint64_t kHighPages = 14;
  static constexpr std::uint64_t kHighStart = 0x100000000;
  static constexpr std::uint64_t kSize = (kLowPages + kHighPages) * kPage;

  SmallGuest() : low_(kLowPages * kPage), high_(kHighPages * kPage) {
    for (std::uint64_t i = 0; i < kPage; ++i) {
      low_[i] = static_cast<std::byte>(i * 7 + 1);
      low_[5 * kPage + i] = static_cast<std::byte>(i * 5 + 3);
      high_[13 * kPage + i] = static_cast<std::byte>(i * 3 + 9);
    }
  }

  std::vector<std::byte>& low() { return low_; }
  std::vector<std::byte>& high() { return high_; }
  std::vector<std::byte> image() const {
    std::vector<std::byte> all = low_;
    all.insert(all.end(), high_.begin(), high_.end());
    return all;
  }
  WriteRequest request() {
    return {.memory = GuestMemory({{GuestAddress(0), low_}, {GuestAddress(kHighStart), high_}}),
            .sections = {{.tag = Tag::machine_config, .bytes = bytes_of("two vcpus")},
                         {.tag = Tag::vcpu, .bytes = bytes_of("vcpu zero")},
                         {.tag = Tag::vcpu, .version = 2, .bytes = bytes_of("vcpu one")},
                         {.tag = Tag::serial, .critical = false, .bytes = {}}}};
  }

 private:
  std::vector<std::byte> low_;
  std::vector<std::byte> high_;
};

// A file to attach, of 16 pages, of which 3 and 12 hold a letter each and the others are holes.
inline FileToWrite sparse_file(const std::string& name, char letter = 'L') {
  return {.name = name, .write = [letter](const UniqueFd& to) -> Status {
            const std::string page(SmallGuest::kPage, letter);
            for (const off_t at : {3, 12})
              if (::pwrite(to.get(), page.data(), page.size(), at * 4096) != 4096)
                return fail_errno("pwrite");
            if (::ftruncate(to.get(), 16 * 4096) != 0) return fail_errno("ftruncate");
            return {};
          }};
}

class SnapshotTest : public testing::Test {
 protected:
  std::filesystem::path dir() const { return temporary_.path() / "snapshot"; }
  std::filesystem::path state_file() const { return dir() / kStateFile; }
  std::filesystem::path memory_file() const { return dir() / kMemoryFile; }
  Written write_small() {
    auto written = write(dir(), guest_.request());
    EXPECT_TRUE(written) << written.error().message();
    return written.value_or(Written{});
  }
  std::vector<std::string> entries() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(temporary_.path()))
      names.push_back(entry.path().filename().string());
    return names;
  }

  TemporaryDirectory temporary_;
  SmallGuest guest_;
};

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_TESTS_UNIT_SNAPSHOT_FIXTURE_H_
