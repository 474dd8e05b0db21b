#include "vmm_device/snapshot/chain.h"

#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "libclonesafe/base/mapping.h"
#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/format.h"

// Incremental snapshots: what lies over what, and that nothing else is taken for it.
namespace clonesafe::snapshot {
namespace {

using testing::HasSubstr;

class ChainTest : public SnapshotTest {
 protected:
  static constexpr std::uint64_t kPages = SmallGuest::kLowPages + SmallGuest::kHighPages;

  // A whole snapshot `base`; then page 0 changes, page 5 becomes zeros, page 9 comes; `one` over
  // it. Then page 0 changes again: `two` over that.
  void SetUp() override {
    base_ = write_over("base", {}, nullptr);
    fill(0, 0x11);
    fill(5, 0);
    fill(9, 0x99);
    one_ = write_over("one", base_.digest, {0, 5, 9});
    fill(0, 0x22);
    fill(33, 0x33);
    two_ = write_over("two", one_.digest, {0, 33});
  }

  void fill(std::uint64_t page, unsigned char value) {
    auto& region = page < SmallGuest::kLowPages ? guest_.low() : guest_.high();
    if (page >= SmallGuest::kLowPages) page -= SmallGuest::kLowPages;
    std::fill_n(region.begin() + static_cast<std::ptrdiff_t>(page * SmallGuest::kPage),
                SmallGuest::kPage, static_cast<std::byte>(value));
  }
  static PageSet set_of(std::initializer_list<std::uint64_t> pages) {
    PageSet set(kPages);
    for (const std::uint64_t page : pages) set.insert(page);
    return set;
  }
  Written write_over(const std::string& name, const Digest& parent, const PageSet* changed) {
    auto request = guest_.request();
    request.parent = parent;
    request.changed = changed;
    auto written = write(place(name), request);
    EXPECT_TRUE(written) << written.error().message();
    return written.value_or(Written{});
  }
  Written write_over(const std::string& name, const Digest& parent,
                     std::initializer_list<std::uint64_t> pages) {
    const PageSet set = set_of(pages);
    return write_over(name, parent, &set);
  }
  std::filesystem::path place(const std::string& name) const { return temporary_.path() / name; }
  static std::vector<std::byte> memory_of(const Chain& chain) {
    auto memory = chain.import_memory();
    EXPECT_TRUE(memory) << memory.error().message();
    if (!memory) return {};
    auto mapping = Mapping::map("memory", SmallGuest::kSize, PROT_READ, MAP_PRIVATE, memory->get());
    EXPECT_TRUE(mapping);
    return {mapping->bytes().begin(), mapping->bytes().end()};
  }
  static std::string refusal(const std::filesystem::path& dir) {
    auto chain = open_chain(dir);
    if (!chain) return chain.error().message();
    auto memory = chain->import_memory();
    return memory ? "accepted" : memory.error().message();
  }

  Written base_, one_, two_;
};

TEST_F(ChainTest, LayersHoldOnlyWhatChanged) {
  EXPECT_EQ(base_.pages, kPages);
  EXPECT_EQ(one_.pages, 3u);
  EXPECT_EQ(one_.data_size, 2 * SmallGuest::kPage);  // a page of zeros is a hole here too
  EXPECT_EQ(two_.data_size, 2 * SmallGuest::kPage);
  EXPECT_EQ(open(place("base"))->header().format_minor, 0);
  EXPECT_EQ(open(place("one"))->header().format_minor, 1);
}

TEST_F(ChainTest, IsFoundByDigestAndGivesTheTopsMemory) {
  auto chain = open_chain(place("two"));
  ASSERT_TRUE(chain) << chain.error().message();
  ASSERT_EQ(chain->snapshots().size(), 3u);
  EXPECT_EQ(chain->top().digest(), two_.digest);
  EXPECT_EQ(memory_of(*chain), guest_.image());
  EXPECT_TRUE(verify_chain(place("two")));
}

TEST_F(ChainTest, GivesTheMemoryOfEachTime) {
  fill(0, 0x11);
  fill(33, 0);
  for (std::uint64_t i = 0; i < SmallGuest::kPage; ++i)
    guest_.high()[13 * SmallGuest::kPage + i] = static_cast<std::byte>(i * 3 + 9);
  EXPECT_EQ(memory_of(*open_chain(place("one"))), guest_.image());
}

TEST_F(ChainTest, TakesParentsFromElsewhereWhenTold) {
  const auto elsewhere = temporary_.path() / "far" / "away";
  std::filesystem::create_directories(elsewhere);
  std::filesystem::rename(place("base"), elsewhere / "base");
  EXPECT_THAT(refusal(place("two")), HasSubstr("is neither given nor beside it"));
  const std::filesystem::path places[] = {place("one"), elsewhere / "base"};
  auto chain = open_chain(place("two"), places);
  ASSERT_TRUE(chain) << chain.error().message();
  EXPECT_EQ(memory_of(*chain), guest_.image());
}

TEST_F(ChainTest, TakesAParentThatWasMovedButDoesNotRestoreIt) {
  ASSERT_TRUE(open(place("base"))->consume());
  EXPECT_EQ(refusal(place("two")), "accepted");
  EXPECT_TRUE(verify_chain(place("two")));
  EXPECT_THAT(refusal(place("base")), HasSubstr("was used up by a move"));
}

TEST_F(ChainTest, RefusesAnotherSnapshotOfTheSameMachineAsParent) {
  std::filesystem::remove_all(place("base"));
  write_over("base", {}, nullptr);  // the same machine, another time
  EXPECT_THAT(refusal(place("one")), HasSubstr("one: incremental, and its parent "));
}

TEST_F(ChainTest, ChecksEveryByteOfEveryLayer) {
  for (const std::string name : {"base", "one", "two"}) {
    const auto file = place(name) / kMemoryFile;
    const auto before = read_file(file);
    for (const std::size_t at : {std::size_t{17}, std::size_t{9 * 4096 + 1}, before.size() - 1}) {
      auto bytes = before;
      bytes[at] ^= std::byte{1};
      write_file(file, bytes);
      EXPECT_THAT(refusal(place("two")), HasSubstr("checksum mismatch in chunk")) << name;
      EXPECT_FALSE(verify_chain(place("two"))) << name;
    }
    write_file(file, before);
  }
  EXPECT_EQ(refusal(place("two")), "accepted");
  auto header = read_file(place("base") / kStateFile);
  header[0x7a] ^= std::byte{1};
  write_file(place("base") / kStateFile, header);
  EXPECT_THAT(refusal(place("two")), HasSubstr("base/state.csn, header: checksum mismatch"));
}

TEST_F(ChainTest, RefusesAParentOfAnotherLayout) {
  auto request = guest_.request();
  request.memory = GuestMemory({{GuestAddress(0), guest_.low()}});
  auto other = write(place("other"), request);
  ASSERT_TRUE(other);
  write_over("over-other", other->digest, {1});
  EXPECT_THAT(refusal(place("over-other")), HasSubstr("not laid out as its parent's"));
}

TEST_F(ChainTest, LayerIsNeverRestoredAlone) {
  EXPECT_THAT(open(place("one"))->import_memory().error().message(),
              HasSubstr("incremental, it needs its parent"));
}

TEST_F(ChainTest, LayerNeedsAParentAndASetOfThisMemory) {
  auto request = guest_.request();
  const PageSet set = set_of({1});
  request.changed = &set;
  EXPECT_THAT(write(place("new"), request).error().message(), HasSubstr("needs a parent"));
  const PageSet small(3);
  request.changed = &small;
  request.parent = base_.digest;
  EXPECT_THAT(write(place("new"), request).error().message(), HasSubstr("not of this memory"));
  EXPECT_FALSE(std::filesystem::exists(place("new")));
}

TEST_F(ChainTest, SecretsAreZeroInLayersAlsoWhereTheParentHasThem) {
  auto request = guest_.request();
  const PageSet set = set_of({0});
  request.changed = &set;
  request.parent = two_.digest;
  request.zero_ranges = {{GuestAddress(9 * SmallGuest::kPage + 16), 32, "key"}};
  ASSERT_TRUE(write(place("three"), request));
  std::fill_n(guest_.low().begin() + 9 * SmallGuest::kPage + 16, 32, std::byte{0});
  EXPECT_EQ(memory_of(*open_chain(place("three"))), guest_.image());
}

TEST_F(ChainTest, MergedSnapshotKeepsTheListOfSecretPages) {
  WriteRequest request = guest_.request();
  const PageSet set = set_of({0});
  request.changed = &set;
  request.parent = two_.digest;
  request.sections.push_back({.tag = Tag::secret_pages, .bytes = bytes_of("a list")});
  ASSERT_TRUE(write(place("three"), request));
  ASSERT_TRUE(merge(*open_chain(place("three")), place("merged")));
  const auto merged = open(place("merged"));
  ASSERT_TRUE(merged);
  EXPECT_EQ(merged->header().format_minor, 2);
  ASSERT_EQ(merged->count(Tag::secret_pages), 1u);
  EXPECT_TRUE(std::ranges::equal(merged->section(Tag::secret_pages)->bytes, bytes_of("a list")));
}

TEST_F(ChainTest, BytesOfAPageThatTheLayerDoesNotHaveAreRefused) {
  // A forged layer: page 7 is in its file, with the right checksum, but not in its set.
  std::vector<std::byte> state;
  {
    fill(7, 0x77);
    write_over("forged", two_.digest, {7});
    state = read_file(place("forged") / kStateFile);
  }
  format::Header header;
  std::memcpy(&header, state.data(), sizeof header);
  const auto set = state.end() - static_cast<std::ptrdiff_t>(PageSet::bytes_for(kPages));
  ASSERT_EQ(*set, std::byte{0x80});
  *set = std::byte{0x40};
  const auto payload = std::span(state).subspan(format::kHeaderLength);
  std::ranges::copy(*sha256(payload), header.payload_digest);
  const auto raw = std::as_bytes(std::span(&header, 1));
  std::ranges::copy(*sha256(raw.first(offsetof(format::Header, header_digest))),
                    header.header_digest);
  std::memcpy(state.data(), &header, sizeof header);
  write_file(place("forged") / kStateFile, state);
  EXPECT_THAT(refusal(place("forged")), HasSubstr("in a page that is not of this layer"));
  EXPECT_FALSE(verify_chain(place("forged")));
}

TEST_F(ChainTest, MergedIsTheTopAndWhole) {
  const auto chain = open_chain(place("two"));
  ASSERT_TRUE(chain);
  auto merged = merge(*chain, place("merged"));
  ASSERT_TRUE(merged) << merged.error().message();
  for (const char* gone : {"base", "one", "two"}) std::filesystem::remove_all(place(gone));
  auto whole = verify(place("merged"));
  ASSERT_TRUE(whole) << whole.error().message();
  EXPECT_EQ(whole->layer(), nullptr);
  EXPECT_EQ(whole->header().parent, Digest{});
  EXPECT_EQ(whole->count(Tag::vcpu), 2u);
  EXPECT_EQ(whole->section(Tag::vcpu, 1)->version, 2);
  EXPECT_FALSE(whole->section(Tag::serial)->critical);
  EXPECT_EQ(memory_of(*open_chain(place("merged"))), guest_.image());
  struct stat status = {};
  ASSERT_EQ(::stat((place("merged") / kMemoryFile).c_str(), &status), 0);
  EXPECT_LT(static_cast<std::uint64_t>(status.st_blocks) * 512, SmallGuest::kSize);
}

TEST_F(ChainTest, MergeRefusesWhatIsWholeAndWhatExists) {
  EXPECT_THAT(merge(*open_chain(place("base")), place("merged")).error().message(),
              HasSubstr("nothing to merge"));
  EXPECT_THAT(merge(*open_chain(place("two")), place("one")).error().message(),
              HasSubstr("already exists"));
  EXPECT_EQ(refusal(place("two")), "accepted");
}

}  // namespace
}  // namespace clonesafe::snapshot
