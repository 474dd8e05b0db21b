#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/snapshot/chain.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/format.h"

// Snapshots with a MAC: a forger who can make every checksum right, but has no key.
namespace clonesafe::snapshot {
namespace {

using testing::HasSubstr;

class MacTest : public SnapshotTest {
 protected:
  Key key(char letter = 'k', std::size_t size = 32) {
    const auto file = temporary_.path() / "key";
    write_file(file, bytes_of(std::string(size, letter)));
    EXPECT_EQ(::chmod(file.c_str(), 0600), 0);
    auto read = Key::read(file);
    EXPECT_TRUE(read) << read.error().message();
    return std::move(*read);
  }
  Written write_signed() {
    auto request = guest_.request();
    request.key = &key_;
    auto written = write(dir(), request);
    EXPECT_TRUE(written) << written.error().message();
    return written.value_or(Written{});
  }
  std::string refusal(const Key* key) {
    auto chain = verify_chain(dir(), {}, {}, key);
    return chain ? "accepted" : chain.error().message();
  }
  // Sets `change` on the header and makes all checksums right again.
  template <typename Change>
  void forge(Change change) {
    auto state = read_file(state_file());
    format::Header header;
    std::memcpy(&header, state.data(), sizeof header);
    change(header, state);
    std::ranges::copy(*sha256(std::span(state).subspan(sizeof header)), header.payload_digest);
    header.payload_length = state.size() - sizeof header;
    const auto raw = std::as_bytes(std::span(&header, 1));
    std::ranges::copy(*sha256(raw.first(offsetof(format::Header, header_digest))),
                      header.header_digest);
    std::memcpy(state.data(), &header, sizeof header);
    write_file(state_file(), state);
  }
  Key key_ = key();
};

TEST_F(MacTest, OfTheRightKeyIsAccepted) {
  write_signed();
  EXPECT_EQ(refusal(&key_), "accepted");
  EXPECT_TRUE(open(dir())->header().has_mac);
  EXPECT_EQ(open(dir())->header().format_minor, 1);
}

TEST_F(MacTest, OfAnotherKeyIsRefused) {
  write_signed();
  const Key other = key('l');
  EXPECT_THAT(refusal(&other), HasSubstr("state.csn, header: the MAC is not this key's"));
}

TEST_F(MacTest, ThatIsMissingIsRefused) {
  write_small();
  EXPECT_THAT(refusal(&key_), HasSubstr("header: no MAC, and a key was given"));
  EXPECT_EQ(refusal(nullptr), "accepted");
}

TEST_F(MacTest, ThatNobodyCanCheckIsRefused) {
  write_signed();
  EXPECT_THAT(refusal(nullptr), HasSubstr("has a MAC, which can't be checked without its key"));
}

TEST_F(MacTest, FindsForgeriesThatNoChecksumFinds) {
  write_signed();
  const auto whole = read_file(state_file());
  forge([](auto& header, auto&) { header.created_ns += 1; });
  ASSERT_TRUE(open(dir()));  // every checksum is right
  EXPECT_THAT(refusal(&key_), HasSubstr("the MAC is not this key's"));
  write_file(state_file(), whole);
  forge([](auto&, auto& state) {
    const auto found = std::ranges::search(state, bytes_of("vcpu zero"));
    ASSERT_FALSE(found.empty());
    found.front() = std::byte{'V'};
  });
  ASSERT_TRUE(open(dir()));
  EXPECT_THAT(refusal(&key_), HasSubstr("the MAC is not this key's"));
  write_file(state_file(), whole);
  forge([](auto& header, auto&) {
    header.mac_algorithm = 0;
    std::memset(header.mac, 0, sizeof header.mac);
  });
  EXPECT_THAT(refusal(&key_), HasSubstr("no MAC"));
}

TEST_F(MacTest, OfAnUnknownAlgorithmIsNamed) {
  write_signed();
  forge([](auto& header, auto&) { header.mac_algorithm = 2; });
  EXPECT_THAT(refusal(&key_), HasSubstr("MAC algorithm 2, which this version can't check"));
}

TEST_F(MacTest, OfTheTopVouchesForTheChainAndGoesToTheMerged) {
  const auto base = write(temporary_.path() / "base", guest_.request());
  ASSERT_TRUE(base);
  PageSet changed(34);
  changed.insert(2);
  guest_.low()[2 * SmallGuest::kPage] = std::byte{2};
  auto request = guest_.request();
  request.parent = base->digest;
  request.changed = &changed;
  request.key = &key_;
  ASSERT_TRUE(write(dir(), request));
  EXPECT_EQ(refusal(&key_), "accepted");
  const auto chain = open_chain(dir(), {}, &key_);
  ASSERT_TRUE(chain);
  ASSERT_TRUE(merge(*chain, temporary_.path() / "merged", {}, &key_));
  EXPECT_TRUE(verify_chain(temporary_.path() / "merged", {}, {}, &key_));
}

TEST_F(MacTest, KeyMustBePrivateAndOfSomeLength) {
  const auto file = temporary_.path() / "key";
  ASSERT_EQ(::chmod(file.c_str(), 0640), 0);
  EXPECT_THAT(Key::read(file).error().message(), HasSubstr("others than its owner"));
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  write_file(file, bytes_of("short"));
  EXPECT_THAT(Key::read(file).error().message(), HasSubstr("5 bytes, expected 16 to 4096"));
  std::filesystem::remove(file);
  EXPECT_THAT(Key::read(file).error().message(), HasSubstr("No such file"));
  EXPECT_THAT(Key::read(temporary_.path()).error().message(), HasSubstr("not a regular file"));
}

TEST_F(MacTest, KeyThatCameOpenIsCheckedTheSame) {
  const auto file = temporary_.path() / "key";
  const UniqueFd good(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  const auto key = Key::read_open(good.get(), "key");
  ASSERT_TRUE(key) << key.error().message();
  EXPECT_TRUE(std::ranges::equal(key->bytes(), key_.bytes()));
  ASSERT_EQ(::chmod(file.c_str(), 0640), 0);
  EXPECT_THAT(Key::read_open(good.get(), "key").error().message(), HasSubstr("others than"));
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reads(ends[0]), writes(ends[1]);
  EXPECT_THAT(Key::read_open(reads.get(), "key").error().message(),
              HasSubstr("key: not a regular file"));
}

}  // namespace
}  // namespace clonesafe::snapshot
