#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "libclonesafe/base/mapping.h"
#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/format.h"

namespace clonesafe::snapshot {
namespace {

using testing::HasSubstr;
using ReadSnapshot = SnapshotTest;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(ReadSnapshot, GivesBackWhatWasWritten) {
  WriteRequest request = guest_.request();
  request.agent_connected = true;
  request.parent.fill(std::byte{0x5a});
  auto written = write(dir(), request);
  ASSERT_TRUE(written);
  auto snapshot = open(dir());
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_TRUE(snapshot->agent_connected());
  EXPECT_EQ(snapshot->header().parent, request.parent);
  EXPECT_EQ(snapshot->header().id, written->id);
  EXPECT_EQ(snapshot->digest(), written->digest);
  EXPECT_EQ(snapshot->header().memory_size, SmallGuest::kSize);
  ASSERT_EQ(snapshot->memory_map().size(), 2u);
  EXPECT_EQ(snapshot->memory_map()[1].start, GuestAddress(SmallGuest::kHighStart));
  EXPECT_EQ(snapshot->memory_map()[1].offset, SmallGuest::kLowPages * SmallGuest::kPage);

  EXPECT_EQ(snapshot->count(Tag::vcpu), 2u);
  EXPECT_EQ(text_of(snapshot->section(Tag::vcpu, 0)->bytes), "vcpu zero");
  EXPECT_EQ(text_of(snapshot->section(Tag::vcpu, 1)->bytes), "vcpu one");
  EXPECT_EQ(snapshot->section(Tag::vcpu, 1)->version, 2);
  EXPECT_FALSE(snapshot->section(Tag::serial)->critical);
  EXPECT_THAT(snapshot->section(Tag::clock).error().message(), HasSubstr("no section \"clock\" 0"));
  EXPECT_FALSE(snapshot->section(Tag::vcpu, 2));
}

TEST_F(ReadSnapshot, OutlivesItsFilesAndItsCopies) {
  write_small();
  std::vector<Snapshot> kept;
  kept.push_back(*open(dir()));
  std::filesystem::remove_all(dir());
  kept.push_back(kept[0]);
  kept.erase(kept.begin());
  EXPECT_EQ(text_of(kept[0].section(Tag::machine_config)->bytes), "two vcpus");
}

TEST_F(ReadSnapshot, ImportsMemoryIntoASealedMemfd) {
  write_small();
  auto memory = open(dir())->import_memory();
  ASSERT_TRUE(memory) << memory.error().message();
  // Before the mapping, since reading a hole of a memfd fills it.
  struct stat status = {};
  ASSERT_EQ(::fstat(memory->get(), &status), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_blocks) * 512, 3 * SmallGuest::kPage);
  auto mapping =
      Mapping::map("memory", SmallGuest::kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory->get());
  ASSERT_TRUE(mapping);
  EXPECT_EQ(std::vector(mapping->bytes().begin(), mapping->bytes().end()), guest_.image());
  // Nobody can change it under a clone, the importer included.
  EXPECT_EQ(::pwrite(memory->get(), "x", 1, 0), -1);
  EXPECT_NE(::ftruncate(memory->get(), 0), 0);
  EXPECT_NE(::ftruncate(memory->get(), SmallGuest::kSize * 2), 0);
  EXPECT_EQ(::fcntl(memory->get(), F_GET_SEALS),
            F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  EXPECT_FALSE(
      Mapping::map("memory", SmallGuest::kSize, PROT_READ | PROT_WRITE, MAP_SHARED, memory->get()));
}

TEST_F(ReadSnapshot, ReportsProgressUpToTheWhole) {
  write_small();
  std::vector<std::uint64_t> done;
  ASSERT_TRUE(verify(dir(), [&](std::uint64_t bytes, std::uint64_t total) {
    done.push_back(bytes);
    EXPECT_EQ(total, SmallGuest::kSize);
  }));
  EXPECT_THAT(done, testing::ElementsAre(0x10000, 0x20000, SmallGuest::kSize));
}

TEST_F(ReadSnapshot, IsUsedUpByTheFirstMove) {
  write_small();
  auto first = open(dir());
  auto second = open(dir());
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(first->consume());
  EXPECT_THAT(second->consume().error().message(), HasSubstr("used up by another move"));
  EXPECT_THAT(open(dir()).error().message(), HasSubstr("was used up by a move"));
  EXPECT_FALSE(verify(dir()));
}

TEST_F(ReadSnapshot, IsNotWaitedForNorFollowed) {
  write_small();
  const auto real = temporary_.path() / "real";
  std::filesystem::rename(state_file(), real);
  std::filesystem::create_symlink(real, state_file());
  EXPECT_THAT(open(dir()).error().message(), HasSubstr("state.csn: Too many levels"));
  std::filesystem::remove(state_file());
  ASSERT_EQ(::mkfifo(state_file().c_str(), 0600), 0);
  EXPECT_THAT(open(dir()).error().message(), HasSubstr("not a regular file"));
  std::filesystem::remove(state_file());
  std::filesystem::create_directory(state_file());
  EXPECT_THAT(open(dir()).error().message(), HasSubstr("not a regular file"));
  std::filesystem::remove(state_file());
  EXPECT_THAT(open(dir()).error().message(), HasSubstr("state.csn: No such file"));
  EXPECT_THAT(open(real).error().message(), HasSubstr("Not a directory"));
}

TEST_F(ReadSnapshot, RefusesAStateFileOfAbsurdLengthBeforeReadingIt) {
  write_small();
  std::filesystem::resize_file(state_file(), std::uintmax_t{1} << 40);
  EXPECT_THAT(open(dir()).error().message(), HasSubstr("over the limit of 64 MiB"));
}

TEST_F(ReadSnapshot, VerifyRefusesWhatIsNoPartOfASnapshot) {
  write_small();
  EXPECT_TRUE(verify(dir()));
  write_file(dir() / "notes", bytes_of("hello"));
  EXPECT_THAT(verify(dir()).error().message(), HasSubstr("notes: no part of a snapshot"));
}

// The checks behind the checksums: states that carry right checksums over wrong contents, as
// whoever can write the directory can make them.
class ForgedState : public SnapshotTest {
 protected:
  void SetUp() override {
    write_small();
    state_ = read_file(state_file());
    load();
  }
  void load() {
    std::memcpy(&header_, state_.data(), sizeof header_);
    payload_.assign(state_.begin() + format::kHeaderLength, state_.end());
  }
  std::string refusal() {
    header_.payload_length = payload_.size();
    std::ranges::copy(*sha256(payload_), header_.payload_digest);
    return refusal_as_is();
  }
  std::string refusal_as_is() {
    const auto raw = std::as_bytes(std::span(&header_, 1));
    std::ranges::copy(*sha256(raw.first(offsetof(format::Header, header_digest))),
                      header_.header_digest);
    std::vector<std::byte> state(raw.begin(), raw.end());
    state.insert(state.end(), payload_.begin(), payload_.end());
    auto snapshot = parse_state(std::move(state), "state.csn");
    load();
    return snapshot ? "accepted" : snapshot.error().message();
  }
  void append(std::uint32_t tag, std::uint16_t flags, std::uint64_t length) {
    const format::SectionHeader header{tag, 1, flags, length};
    const auto raw = std::as_bytes(std::span(&header, 1));
    payload_.insert(payload_.end(), raw.begin(), raw.end());
  }
  // The memory map is the first section.
  typedef std::uint64_t Unaligned __attribute__((aligned(1)));
  Unaligned& map_field(std::size_t region, std::size_t field) {
    return *reinterpret_cast<Unaligned*>(payload_.data() + 16 + 4 + region * 24 + field * 8);
  }

  std::vector<std::byte> state_;
  std::vector<std::byte> payload_;
  format::Header header_;
};

TEST_F(ForgedState, IsAcceptedUnchanged) {
  EXPECT_EQ(refusal(), "accepted");
}

TEST_F(ForgedState, OfAnotherFormatIsNamedSo) {
  header_.major = 2;
  EXPECT_EQ(refusal(), "state.csn, header: format 2.0, this version reads 1.x");
}

TEST_F(ForgedState, OfALaterMinorVersionIsRead) {
  header_.minor = format::kMinor + 1;
  header_.reserved1[7] = std::byte{1};
  EXPECT_EQ(refusal(), "accepted");
}

TEST_F(ForgedState, HasItsHeaderFieldsChecked) {
  header_.architecture = 2;
  EXPECT_THAT(refusal(), HasSubstr("architecture 2"));
  header_.flags = 0x20000;
  EXPECT_THAT(refusal(), HasSubstr("flags 0x20000"));
  header_.flags = 0x8000;
  EXPECT_EQ(refusal(), "accepted");
  header_.mac_algorithm = 2;
  EXPECT_THAT(refusal(), HasSubstr("MAC algorithm 2"));
  header_.page_shift = 13;
  EXPECT_THAT(refusal(), HasSubstr("page shift 13"));
  header_.chunk_size = 0;
  EXPECT_THAT(refusal(), HasSubstr("chunk size 0"));
  header_.header_length = 8192;
  EXPECT_THAT(refusal(), HasSubstr("length 8192"));
  header_.memory_size = 0;
  EXPECT_THAT(refusal(), HasSubstr("not in whole pages"));
  header_.memory_size = UINT64_MAX - 4095;
  EXPECT_THAT(refusal(), HasSubstr("memory map: regions of"));
  header_.reserved1[100] = std::byte{1};
  EXPECT_THAT(refusal(), HasSubstr("reserved bytes"));
  header_.payload_length = UINT64_MAX;
  EXPECT_THAT(refusal_as_is(), HasSubstr("over the limit of 64 MiB"));
  header_.payload_length += 1;
  EXPECT_THAT(refusal_as_is(), HasSubstr("the header says"));
  header_.chunk_table_digest[0] ^= std::byte{1};
  EXPECT_THAT(refusal(), HasSubstr("chunk digests: checksum mismatch"));
}

TEST_F(ForgedState, HasUnknownSectionsSkippedUnlessCritical) {
  append(0xdead, 0, 0);
  EXPECT_EQ(refusal(), "accepted");
  append(0xdead, format::kSectionCritical, 0);
  EXPECT_THAT(refusal(), HasSubstr("tag 57005 is unknown"));
  append(0xdead, 2, 0);
  EXPECT_THAT(refusal(), HasSubstr("flags 0x2"));
}

TEST_F(ForgedState, HasItsSectionsBounded) {
  append(static_cast<std::uint32_t>(Tag::clock), 1, 1);
  EXPECT_THAT(refusal(), HasSubstr("length 1, only 0 bytes are left"));
  append(static_cast<std::uint32_t>(Tag::clock), 1, UINT64_MAX);
  EXPECT_THAT(refusal(), HasSubstr("length 18446744073709551615"));
  payload_.push_back(std::byte{0});
  EXPECT_THAT(refusal(), HasSubstr("cut short"));
  append(static_cast<std::uint32_t>(Tag::machine_config), 1, 0);
  EXPECT_THAT(refusal(), HasSubstr("machine config: more than 1"));
  for (int i = 0; i < 2000; ++i) append(0xdead, 0, 0);
  EXPECT_THAT(refusal(), HasSubstr("more than 1024 sections"));
  payload_.clear();
  EXPECT_THAT(refusal(), HasSubstr("no memory map"));
}

TEST_F(ForgedState, HasItsMemoryMapChecked) {
  map_field(0, 0) = 1;
  EXPECT_THAT(refusal(), HasSubstr("region 0: not in whole pages"));
  map_field(1, 1) = 0;
  EXPECT_THAT(refusal(), HasSubstr("region 1: not in whole pages"));
  map_field(1, 0) = 0;
  EXPECT_THAT(refusal(), HasSubstr("region 1: overlaps"));
  map_field(1, 0) = UINT64_MAX - 4095;
  EXPECT_THAT(refusal(), HasSubstr("region 1: overlaps, is out of order, or wraps around"));
  map_field(1, 1) = UINT64_MAX - 4095;
  EXPECT_THAT(refusal(), HasSubstr("region 1:"));
  map_field(1, 2) += 4096;
  EXPECT_THAT(refusal(), HasSubstr("region 1: lies elsewhere"));
  map_field(1, 1) -= 4096;
  EXPECT_THAT(refusal(), HasSubstr("memory map: regions of"));
  payload_[16] = std::byte{0};
  EXPECT_THAT(refusal(), HasSubstr("0 regions"));
  payload_[16] = std::byte{3};
  EXPECT_THAT(refusal(), HasSubstr("cut short"));
  payload_[4] = std::byte{2};  // the section's version
  EXPECT_THAT(refusal(), HasSubstr("version 2, expected 1"));
}

TEST_F(ForgedState, MustHaveADigestForEachChunk) {
  header_.memory_size -= 4096 * 2;  // two chunks instead of three
  map_field(1, 1) -= 4096 * 2;
  EXPECT_THAT(refusal(), HasSubstr("chunk digests: 96 bytes, expected 32 for each of 2 chunks"));
}

}  // namespace
}  // namespace clonesafe::snapshot
