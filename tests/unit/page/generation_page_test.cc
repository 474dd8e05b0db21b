#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "libclonesafe/page/generation_page_reader.h"
#include "libclonesafe/page/generation_page_writer.h"

namespace clonesafe {
namespace {

using ::testing::HasSubstr;

clonesafe_generation_slot slot_of(std::uint64_t generation) {
  clonesafe_generation_slot slot = {};
  slot.generation = generation;
  slot.reseed_epoch = generation;
  slot.state = CLONESAFE_STATE_SAFE;
  slot.tier = CLONESAFE_TIER_LAGGING;
  for (auto& byte : slot.diversifier) byte = static_cast<std::uint8_t>(generation);
  for (auto& byte : slot.reserved) byte = static_cast<std::uint8_t>(generation);
  return slot;
}

// What the VMM does between a restore and the first instruction.
void write_as_vmm(clonesafe_generation_page& page, std::uint64_t generation) {
  page.slots[CLONESAFE_GENERATION_VMM_SLOT] = slot_of(generation);
  page.control = CLONESAFE_GENERATION_NEXT(page.control, CLONESAFE_GENERATION_VMM_SLOT);
}

class GenerationPageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "clonesafe-page-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = folder_ + "/run/generation";
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir((folder_ + "/run").c_str());
    ::rmdir(folder_.c_str());
  }
  GenerationPageWriter make_writer(std::uint64_t generation = 1) {
    auto writer = GenerationPageWriter::open(path_, slot_of(generation));
    EXPECT_TRUE(writer) << writer.error().message();
    return std::move(*writer);
  }
  static clonesafe_generation_page& page_of(const GenerationPageWriter& writer) {
    return *reinterpret_cast<clonesafe_generation_page*>(writer.bytes().data());
  }
  void write_file(std::string_view contents) {
    ::mkdir((folder_ + "/run").c_str(), 0700);
    std::ofstream(path_, std::ios::binary) << contents;
  }
  ino_t inode() const {
    struct stat status = {};
    EXPECT_EQ(::stat(path_.c_str(), &status), 0);
    return status.st_ino;
  }

  std::string folder_;
  std::string path_;
};

TEST_F(GenerationPageTest, NewPageIsReadableByAllAndHoldsTheFirstSlot) {
  const GenerationPageWriter writer = make_writer(7);
  EXPECT_TRUE(writer.created());
  struct stat status = {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0444u);
  EXPECT_EQ(status.st_size, 4096);
  auto reader = GenerationPageReader::open(path_);
  ASSERT_TRUE(reader) << reader.error().message();
  auto snapshot = reader->read();
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->slot.generation, 7u);
  EXPECT_EQ(snapshot->control, writer.control());
  EXPECT_NE(::access((path_ + ".new").c_str(), F_OK), 0);
}

TEST_F(GenerationPageTest, RestartedAgentKeepsInodeAndContents) {
  ino_t before = 0;
  std::uint64_t control = 0;
  {
    GenerationPageWriter writer = make_writer(1);
    ASSERT_TRUE(writer.commit(writer.control(), slot_of(2)));
    before = inode();
    control = writer.control();
  }
  const GenerationPageWriter writer = make_writer(3);
  EXPECT_FALSE(writer.created());
  EXPECT_EQ(inode(), before);
  EXPECT_EQ(writer.control(), control);
  EXPECT_EQ(writer.read()->slot.generation, 2u);
}

TEST_F(GenerationPageTest, EveryCommitChangesTheControlWordAndTheSlot) {
  GenerationPageWriter writer = make_writer();
  const auto reader = GenerationPageReader::open(path_);
  ASSERT_TRUE(reader);
  for (std::uint64_t generation = 2; generation < 20; ++generation) {
    const std::uint64_t before = reader->control();
    const auto committed = writer.commit(before, slot_of(generation));
    ASSERT_TRUE(committed);
    EXPECT_NE(*committed, before);
    EXPECT_EQ(reader->control(), *committed);
    EXPECT_NE(CLONESAFE_GENERATION_SLOT_OF(*committed), CLONESAFE_GENERATION_SLOT_OF(before));
    EXPECT_EQ(reader->read()->slot.generation, generation);
  }
}

TEST_F(GenerationPageTest, CommitFromAnOldReadIsRefusedAndLeavesThePageAlone) {
  GenerationPageWriter writer = make_writer();
  const std::uint64_t stale = writer.control();
  write_as_vmm(page_of(writer), 50);
  EXPECT_FALSE(writer.commit(stale, slot_of(2)));
  EXPECT_EQ(writer.read()->slot.generation, 50u);
  EXPECT_EQ(CLONESAFE_GENERATION_SLOT_OF(writer.control()), CLONESAFE_GENERATION_VMM_SLOT);
}

TEST_F(GenerationPageTest, RestoreBetweenFillAndPublishOvertakesTheAgent) {
  const GenerationPageWriter writer = make_writer();
  clonesafe_generation_page& page = page_of(writer);
  const std::uint64_t base = writer.control();
  const std::uint64_t next = fill_generation_slot(page, base, slot_of(2));
  EXPECT_EQ(writer.read()->slot.generation, 1u);
  write_as_vmm(page, 50);
  EXPECT_FALSE(publish_generation(page, base, next));
  EXPECT_EQ(writer.read()->slot.generation, 50u);
}

TEST_F(GenerationPageTest, AgentPublishesAfterTheVmmAndTheVmmAfterItself) {
  GenerationPageWriter writer = make_writer();
  write_as_vmm(page_of(writer), 50);
  ASSERT_TRUE(writer.commit(writer.control(), slot_of(51)));
  EXPECT_EQ(writer.read()->slot.generation, 51u);
  write_as_vmm(page_of(writer), 60);
  const std::uint64_t control = writer.control();
  write_as_vmm(page_of(writer), 61);  // a clone of a clone whose agent never ran
  EXPECT_NE(writer.control(), control);
  EXPECT_EQ(writer.read()->slot.generation, 61u);
}

TEST_F(GenerationPageTest, ReaderCaughtInTheCopyReturnsTheNewSlotWhole) {
  const GenerationPageWriter writer = make_writer();
  clonesafe_generation_page& page = page_of(writer);
  GenerationSnapshot snapshot;
  int copies = 0;
  const PageCondition condition = read_generation_page(page, snapshot, [&] {
    if (copies++ == 0) write_as_vmm(page, 50);
  });
  EXPECT_EQ(condition, PageCondition::kUsable);
  EXPECT_EQ(copies, 2);
  EXPECT_EQ(snapshot.slot.generation, 50u);
  EXPECT_EQ(snapshot.control, page.control);
}

TEST_F(GenerationPageTest, PageThatNeverSettlesIsGivenUp) {
  const GenerationPageWriter writer = make_writer();
  clonesafe_generation_page& page = page_of(writer);
  GenerationSnapshot snapshot;
  int copies = 0;
  const PageCondition condition = read_generation_page(page, snapshot, [&] {
    ++copies;
    page.control += 4;
  });
  EXPECT_EQ(condition, PageCondition::kUnsettled);
  EXPECT_EQ(copies, kGenerationReadTries);
}

// Every byte of a test slot is the low byte of its generation, so a mixture shows.
TEST_F(GenerationPageTest, ConcurrentReadersNeverSeeAMixture) {
  GenerationPageWriter writer = make_writer();
  const auto reader = GenerationPageReader::open(path_);
  ASSERT_TRUE(reader);
  std::atomic<bool> stop = false;
  std::atomic<int> reads = 0;
  std::atomic<int> mixtures = 0;
  std::thread thread([&] {
    for (int i = 0; !stop; ++i) {
      // The writer's own mapping too: a race through two mappings is hidden from ThreadSanitizer.
      const auto snapshot = i % 2 == 0 ? reader->read() : std::as_const(writer).read();
      if (!snapshot) continue;  // gave up; allowed while a writer storms
      ++reads;
      const auto byte = static_cast<std::uint8_t>(snapshot->slot.generation);
      for (const auto other : snapshot->slot.diversifier) mixtures += other != byte;
      for (const auto other : snapshot->slot.reserved) mixtures += other != byte;
    }
  });
  for (std::uint64_t generation = 2; generation < 20000 || reads < 100; ++generation) {
    ASSERT_TRUE(writer.commit(writer.control(), slot_of(generation)));
  }
  stop = true;
  thread.join();
  EXPECT_EQ(mixtures, 0);
}

TEST_F(GenerationPageTest, NonceIsWrittenWhereTheVmmLooks) {
  GenerationPageWriter writer = make_writer();
  std::array<std::uint8_t, CLONESAFE_GENERATION_NONCE_SIZE> nonce = {};
  for (std::size_t i = 0; i < nonce.size(); ++i) nonce[i] = static_cast<std::uint8_t>(i + 1);
  writer.set_nonce(nonce);
  EXPECT_EQ(std::memcmp(page_of(writer).nonce, nonce.data(), nonce.size()), 0);
}

TEST_F(GenerationPageTest, ReaderNamesWhatIsWrongWithAFile) {
  const auto error_of = [&](std::string_view contents) {
    write_file(contents);
    auto reader = GenerationPageReader::open(path_);
    EXPECT_FALSE(reader);
    return reader ? std::string() : reader.error().message();
  };
  EXPECT_THAT(GenerationPageReader::open(path_).error().message(),
              HasSubstr("No such file or directory"));
  EXPECT_THAT(error_of(""), HasSubstr("shorter"));
  EXPECT_THAT(error_of(std::string(4095, '\0')), HasSubstr("shorter"));
  EXPECT_THAT(error_of(std::string(4096, '\0')), HasSubstr("bad magic"));
  auto page = std::make_unique<clonesafe_generation_page>();
  page->magic = CLONESAFE_GENERATION_PAGE_MAGIC;
  page->version = 2;
  const auto bytes_of = [&] {
    return std::string_view(reinterpret_cast<const char*>(page.get()), sizeof(*page));
  };
  EXPECT_THAT(error_of(bytes_of()), HasSubstr("unknown version"));
  page->version = 1;
  EXPECT_THAT(error_of(bytes_of()), HasSubstr("size field"));
}

TEST_F(GenerationPageTest, UnpublishedPageOpensButDoesNotRead) {
  auto page = std::make_unique<clonesafe_generation_page>();
  page->magic = CLONESAFE_GENERATION_PAGE_MAGIC;
  page->version = CLONESAFE_GENERATION_PAGE_VERSION;
  page->size = CLONESAFE_GENERATION_PAGE_SIZE;
  GenerationSnapshot snapshot;
  EXPECT_EQ(read_generation_page(*page, snapshot), PageCondition::kUnpublished);
  page->control = (9u << 2) | 3u;  // no such slot
  EXPECT_EQ(read_generation_page(*page, snapshot), PageCondition::kUnpublished);
}

TEST_F(GenerationPageTest, FifoInThePagesPlaceDoesNotHang) {
  ::mkdir((folder_ + "/run").c_str(), 0700);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(GenerationPageReader::open(path_).error().message(), HasSubstr("not a regular file"));
  EXPECT_THAT(GenerationPageWriter::open(path_, slot_of(1)).error().message(),
              HasSubstr("not a regular file"));
}

TEST_F(GenerationPageTest, WriterDoesNotFollowASymbolicLink) {
  ::mkdir((folder_ + "/run").c_str(), 0700);
  ASSERT_EQ(::symlink("/dev/null", path_.c_str()), 0);
  EXPECT_FALSE(GenerationPageWriter::open(path_, slot_of(1)));
}

TEST_F(GenerationPageTest, WriterReplacesAFileThatIsNoPage) {
  for (const std::string& contents : {std::string("short"), std::string(4096, 'x')}) {
    write_file(contents);
    const GenerationPageWriter writer = make_writer(4);
    EXPECT_TRUE(writer.created());
    EXPECT_EQ(writer.read()->slot.generation, 4u);
    ::unlink(path_.c_str());
  }
}

TEST_F(GenerationPageTest, ReaderSeesThatTheFileWasReplaced) {
  make_writer(1);
  const auto reader = GenerationPageReader::open(path_);
  ASSERT_TRUE(reader);
  EXPECT_TRUE(reader->is_current());
  ::unlink(path_.c_str());
  EXPECT_FALSE(reader->is_current());
  make_writer(2);
  EXPECT_FALSE(reader->is_current());
  EXPECT_EQ(reader->read()->slot.generation, 1u);  // the mapping outlives the name
}

}  // namespace
}  // namespace clonesafe
