#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "tests/unit/snapshot/fixture.h"

// Every byte of every file counts: whatever is flipped, cut, added or swapped, both verify and
// restore (open and import) refuse it, in one line.
namespace clonesafe::snapshot {
namespace {

using testing::HasSubstr;

class Corruption : public SnapshotTest {
 protected:
  void SetUp() override {
    write_small();
    state_ = read_file(state_file());
    memory_ = read_file(memory_file());
    ASSERT_TRUE(verify(dir()));
  }
  std::string refusal_of_verify() {
    auto snapshot = verify(dir());
    return snapshot ? "" : snapshot.error().message();
  }
  std::string refusal_of_restore() {
    auto snapshot = open(dir());
    if (!snapshot) return snapshot.error().message();
    auto memory = snapshot->import_memory();
    return memory ? "" : memory.error().message();
  }
  // Both refuse, with the same one line.
  void expect_refused(const std::string& what, std::string_view says) {
    const std::string verified = refusal_of_verify();
    const std::string restored = refusal_of_restore();
    ASSERT_NE(verified, "") << what;
    ASSERT_EQ(verified, restored) << what;
    ASSERT_THAT(verified, HasSubstr(says)) << what;
    ASSERT_EQ(verified.find('\n'), std::string::npos) << what;
  }
  void poke(const std::filesystem::path& file, std::size_t offset, std::byte value) {
    const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(fd.get(), &value, 1, static_cast<off_t>(offset)), 1);
  }

  std::vector<std::byte> state_;
  std::vector<std::byte> memory_;
};

TEST_F(Corruption, OfAnyByteOfTheStateFileIsRefused) {
  for (std::size_t i = 0; i < state_.size(); ++i) {
    poke(state_file(), i, state_[i] ^ (std::byte{1} << (i % 8)));
    expect_refused("byte " + std::to_string(i), state_file().string());
    if (HasFatalFailure()) return;
    poke(state_file(), i, state_[i]);
  }
  EXPECT_TRUE(verify(dir()));
}

TEST_F(Corruption, OfAnyBitOfTheStateFileIsRefused) {
  for (std::size_t i = 0; i < state_.size(); ++i)
    for (unsigned bit = 0; bit < 8; ++bit) {
      auto state = state_;
      state[i] ^= std::byte{1} << bit;
      ASSERT_FALSE(parse_state(std::move(state), "state.csn")) << "byte " << i << ", bit " << bit;
    }
}

TEST_F(Corruption, ByACutOfTheStateFileAtAnyLengthIsRefused) {
  for (std::size_t size = state_.size(); size-- > 0;) {
    std::filesystem::resize_file(state_file(), size);
    expect_refused("length " + std::to_string(size), state_file().string());
    if (HasFatalFailure()) return;
  }
}

TEST_F(Corruption, ByBytesAddedToTheStateFileIsRefused) {
  auto state = state_;
  for (const std::size_t more : {1u, 16u, 4096u}) {
    state.resize(state_.size() + more);
    write_file(state_file(), state);
    expect_refused(std::to_string(more) + " more bytes", "payload has");
  }
}

// Every page, so also those in holes, at bytes spread over the page.
TEST_F(Corruption, OfMemoryIsRefusedWithChunkAndOffset) {
  for (std::size_t page = 0; page * SmallGuest::kPage < memory_.size(); ++page) {
    const std::size_t i = page * SmallGuest::kPage + (page * 613) % SmallGuest::kPage;
    poke(memory_file(), i, memory_[i] ^ std::byte{0x40});
    const std::size_t chunk = i / 65536;
    expect_refused("byte " + std::to_string(i),
                   memory_file().string() + ": checksum mismatch in chunk " +
                       std::to_string(chunk) + ", offset " + std::to_string(chunk * 65536));
    if (HasFatalFailure()) return;
    poke(memory_file(), i, memory_[i]);
  }
  EXPECT_TRUE(verify(dir()));
}

TEST_F(Corruption, OfAnyByteOfAPageIsRefused) {
  for (const std::size_t page : {std::size_t{5}, std::size_t{7}, std::size_t{33}})  // 7: a hole
    for (std::size_t in_page = 0; in_page < SmallGuest::kPage; in_page += 17) {
      const std::size_t i = page * SmallGuest::kPage + in_page;
      poke(memory_file(), i, memory_[i] ^ std::byte{1});
      ASSERT_NE(refusal_of_verify(), "") << i;
      poke(memory_file(), i, memory_[i]);
    }
}

TEST_F(Corruption, ByAHoleWhereDataWasIsRefused) {
  const UniqueFd fd(::open(memory_file().c_str(), O_RDWR | O_CLOEXEC));
  if (::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * 4096, 4096) != 0)
    GTEST_SKIP() << "no holes on this file system";
  expect_refused("hole", "checksum mismatch in chunk 0");
}

TEST_F(Corruption, ByZerosInsteadOfHolesIsNone) {
  write_file(memory_file(), memory_);
  EXPECT_EQ(refusal_of_verify(), "");
  EXPECT_EQ(refusal_of_restore(), "");
}

TEST_F(Corruption, ByChunksSwappedIsRefused) {
  auto memory = memory_;
  std::swap_ranges(memory.begin(), memory.begin() + 65536, memory.begin() + 65536);
  write_file(memory_file(), memory);
  expect_refused("swap", "checksum mismatch in chunk 0");
}

TEST_F(Corruption, ByAMemoryFileOfAnotherLengthIsRefused) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{4096}, memory_.size() - 4096,
        memory_.size() - 1, memory_.size() + 1, memory_.size() + 65536}) {
    std::filesystem::resize_file(memory_file(), size);
    expect_refused(
        "length " + std::to_string(size),
        std::to_string(size) + " bytes, the state file says " + std::to_string(memory_.size()));
  }
  std::filesystem::remove(memory_file());
  expect_refused("no file", "memory.img: No such file");
}

TEST_F(Corruption, ByAFileOfAnotherSnapshotIsRefused) {
  const auto other = temporary_.path() / "other";
  guest_.low()[0] ^= std::byte{1};
  ASSERT_TRUE(write(other, guest_.request()));
  std::filesystem::copy_file(other / kMemoryFile, memory_file(),
                             std::filesystem::copy_options::overwrite_existing);
  expect_refused("other memory", "checksum mismatch in chunk 0");
}

}  // namespace
}  // namespace clonesafe::snapshot
