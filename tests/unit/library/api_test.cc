#include <gmock/gmock.h>

#include <cerrno>
#include <cstring>
#include <regex>
#include <set>
#include <thread>

#include "libclonesafe/core/randomness.h"
#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

class ApiTest : public Laboratory {};

TEST_F(ApiTest, MisuseIsACodeAndNotACrash) {
  EXPECT_EQ(cs_random(nullptr, 1), CS_E_INVALID);
  EXPECT_EQ(cs_random(nullptr, 0), 0);
  char byte = 0;
  EXPECT_EQ(cs_random(&byte, SIZE_MAX), CS_E_INVALID);
  EXPECT_EQ(cs_random(&byte, SIZE_MAX / 2 + 1), CS_E_INVALID);
  EXPECT_EQ(cs_uuid4(nullptr), CS_E_INVALID);
  EXPECT_EQ(cs_uuid4_text(nullptr), CS_E_INVALID);
  EXPECT_EQ(cs_generation(nullptr), CS_E_INVALID);
  EXPECT_NE(cs_changed(nullptr), 0);
  EXPECT_EQ(cs_status(nullptr, sizeof(cs_status_report)), CS_E_INVALID);
  cs_status_report report = {};
  EXPECT_EQ(cs_status(&report, 3), CS_E_INVALID);
}

TEST_F(ApiTest, StatusServesCallersOfOtherVersions) {
  cs_status_report report;
  std::memset(&report, 0xee, sizeof(report));
  // An older caller's structure ended before the paths.
  ASSERT_EQ(cs_status(&report, offsetof(cs_status_report, page_path)), 0);
  EXPECT_EQ(report.sources & CS_SOURCE_KERNEL_RANDOM, CS_SOURCE_KERNEL_RANDOM);
  std::uintptr_t untouched = 0;
  std::memcpy(&untouched, &report.page_path, sizeof(untouched));
  EXPECT_EQ(untouched, static_cast<std::uintptr_t>(0xeeeeeeeeeeeeeeeeU));
  // A newer one has fields that this library doesn't know.
  struct {
    cs_status_report known;
    std::uint64_t unknown;
  } newer;
  std::memset(&newer, 0xee, sizeof(newer));
  ASSERT_EQ(cs_status(&newer.known, sizeof(newer)), 0);
  EXPECT_EQ(newer.unknown, 0u);
}

// RFC 9562, 5.4.
TEST_F(ApiTest, Uuid4HasVersionAndVariantAndTheRestIsRandom) {
  unsigned char ones[16];
  unsigned char zeros[16];
  std::memset(ones, 0xff, sizeof(ones));
  std::memset(zeros, 0, sizeof(zeros));
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    unsigned char uuid[16];
    ASSERT_EQ(cs_uuid4(uuid), 0);
    EXPECT_EQ(uuid[6] & 0xf0, 0x40);
    EXPECT_EQ(uuid[8] & 0xc0, 0x80);
    for (int k = 0; k < 16; ++k) {
      ones[k] &= uuid[k];
      zeros[k] |= uuid[k];
    }
    char text[37];
    cs_uuid_text(uuid, text);
    EXPECT_TRUE(seen.insert(text).second);
  }
  // Every other bit was seen as 0 and as 1.
  for (int k = 0; k < 16; ++k) {
    const unsigned fixed = k == 6 ? 0xf0u : k == 8 ? 0xc0u : 0u;
    EXPECT_EQ(ones[k] & ~fixed, 0u) << k;
    EXPECT_EQ((zeros[k] | fixed) & 0xffu, 0xffu) << k;
  }
}

TEST_F(ApiTest, UuidTextIsTheRfcsForm) {
  // RFC 9562, A.3.
  const unsigned char uuid[16] = {0x91, 0x91, 0x08, 0xf7, 0x52, 0xd1, 0x43, 0x20,
                                  0x9b, 0xac, 0xf8, 0x47, 0xdb, 0x41, 0x48, 0xa8};
  char text[37];
  cs_uuid_text(uuid, text);
  EXPECT_STREQ(text, "919108f7-52d1-4320-9bac-f847db4148a8");
  ASSERT_EQ(cs_uuid4_text(text), 0);
  EXPECT_TRUE(std::regex_match(
      text, std::regex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")));
}

TEST_F(ApiTest, EveryLengthIsFilledAndNoByteIsGivenTwice) {
  publish({});
  restart();
  for (const std::size_t length : {1u, 7u, 16u, 511u, 512u, 513u, 1023u, 1024u, 1025u, 70000u}) {
    std::vector<std::uint8_t> seen(length);
    // A byte that stays zero in eight draws wasn't filled, or is a wonder (2^-64).
    for (int i = 0; i < 8; ++i) {
      std::vector<std::uint8_t> bytes(length + 1, 0);
      bytes[length] = 0xaa;
      ASSERT_EQ(cs_random(bytes.data(), length), 0);
      EXPECT_EQ(bytes[length], 0xaa);
      for (std::size_t k = 0; k < length; ++k) seen[k] |= bytes[k];
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), 0) << length;
  }
  EXPECT_EQ(count_repeated(draw_many(10000)), 0u);
}

// The generator reseeds by itself after 1 MiB: with a live kernel stream the outputs of two equal
// processes part there.
TEST_F(ApiTest, ReseedsAfterAMebibyte) {
  publish({});
  restart();
  draw();
  const auto all = run_clones(2, [](int clone) {
    set_kernel_stream(70 + static_cast<std::uint64_t>(clone));
    std::vector<Value> values = {draw()};
    std::vector<std::uint8_t> bulk(1 << 20);
    EXPECT_EQ(cs_random(bulk.data(), bulk.size()), 0);
    draw_many(core::Secrets::kBlockSize / sizeof(Value));  // past the end of a block
    values.push_back(draw());
    return values;
  });
  EXPECT_EQ(all[0][0], all[1][0]);
  EXPECT_NE(all[0][1], all[1][1]);
}

TEST_F(ApiTest, KernelWithoutRandomBytesIsAnErrorAndZeros) {
  core::seams_for_testing.kernel_random = [](void*, std::size_t) { return -EPERM; };
  for (const bool with_page : {false, true}) {
    if (with_page) publish({});
    restart();
    Value value;
    value.fill(0xee);
    EXPECT_EQ(cs_random(value.data(), value.size()), CS_E_ENTROPY);
    EXPECT_EQ(value, Value{});
    unsigned char uuid[16];
    std::memset(uuid, 0xee, sizeof(uuid));
    EXPECT_EQ(cs_uuid4(uuid), CS_E_ENTROPY);
    EXPECT_EQ(uuid[6], 0);
    char text[37] = "x";
    EXPECT_EQ(cs_uuid4_text(text), CS_E_ENTROPY);
    EXPECT_STREQ(text, "");
  }
}

TEST_F(ApiTest, WithoutFreezingTheRealInputsWork) {
  core::seams_for_testing = {};
  restart();
  EXPECT_EQ(count_repeated(draw_many(1000)), 0u);
  std::uint64_t words[4] = {};
  if (core::fill_hardware_random(words)) {
    std::uint64_t more[4] = {};
    ASSERT_TRUE(core::fill_hardware_random(more));
    EXPECT_NE(std::memcmp(words, more, sizeof(words)), 0);
  }
}

TEST_F(ApiTest, ErrnoIsLeftAlone) {
  restart();
  errno = 4711;
  draw();  // opens what isn't there
  cs_stamp stamp = {};
  EXPECT_EQ(cs_generation(&stamp), 0);
  cs_status_report report = {};
  EXPECT_EQ(cs_status(&report, sizeof(report)), 0);
  EXPECT_EQ(errno, 4711);
}

TEST_F(ApiTest, ChangedTellsGenerationFromReseedAndIgnoresTheState) {
  publish({.generation = 1, .reseed_epoch = 1});
  restart();
  cs_stamp stamp = {};
  ASSERT_EQ(cs_generation(&stamp), 0);
  EXPECT_EQ(cs_changed(&stamp), 0);
  publish({.generation = 1, .reseed_epoch = 1, .state = CLONESAFE_STATE_DEGRADED});
  EXPECT_EQ(cs_changed(&stamp), 0);
  publish({.generation = 1, .reseed_epoch = 1, .kernel_rng_epoch = 2});
  EXPECT_EQ(cs_changed(&stamp), 0);
  publish({.generation = 1, .reseed_epoch = 2});
  EXPECT_EQ(cs_changed(&stamp), CS_CHANGED_RESEED);
  publish({.generation = 0, .reseed_epoch = 2});
  EXPECT_EQ(cs_changed(&stamp), CS_CHANGED_GENERATION | CS_CHANGED_RESEED);
}

// Each word of the three, another page, and what is no stamp.
TEST_F(ApiTest, InlineCheckSeesWhatTheCallSees) {
  publish({.generation = 1});
  write_vmclock(1);
  restart();
  const auto take = [] {
    cs_stamp stamp = {};
    EXPECT_EQ(cs_generation(&stamp), 0);
    EXPECT_EQ(cs_changed_inline(&stamp), 0);
    return stamp;
  };
  constexpr int kGeneration = CS_CHANGED_GENERATION | CS_CHANGED_RESEED;
  cs_stamp stamp = take();
  publish({.generation = 2});
  EXPECT_EQ(cs_changed_inline(&stamp), kGeneration);
  stamp = take();
  write_vmclock(2);
  EXPECT_EQ(cs_changed_inline(&stamp), kGeneration);
  stamp = take();
  remove_page();
  publish({.generation = 7});
  publish({.generation = 2});  // with the control word and the generation of the first one
  draw_many(70);               // at a block's end the library looks
  EXPECT_NE(cs_live()->control, reinterpret_cast<const std::uint64_t*>(stamp.words[0]));
  publish({.generation = 3});
  EXPECT_EQ(cs_changed_inline(&stamp), kGeneration);
  EXPECT_EQ(cs_changed_inline(nullptr), kGeneration | CS_CHANGED_FORK);
  stamp = {};
  EXPECT_NE(cs_changed_inline(&stamp), 0);
}

// What the check is made of: no call, and no more loads of what others write.
TEST_F(ApiTest, InlineCheckLoadsTheStampsThreeWords) {
  publish({.generation = 1});
  write_vmclock(1);
  restart();
  cs_stamp stamp = {};
  ASSERT_EQ(cs_generation(&stamp), 0);
  const cs_live_words* const live = cs_live();
  EXPECT_EQ(*live->control, stamp.words[1]);
  EXPECT_EQ(*live->counter, stamp.words[2]);
  EXPECT_EQ(*live->fork, stamp.forks);
  EXPECT_EQ(cs_live(), live);
}

TEST_F(ApiTest, ThreadsAreSeparateAndEndCleanly) {
  publish({});
  restart();
  std::vector<Value> values;
  for (int i = 0; i < 200; ++i) {
    std::thread([&] { values.push_back(draw()); }).join();
  }
  EXPECT_EQ(count_repeated(values), 0u);
}

TEST_F(ApiTest, EveryCodeHasItsText) {
  std::set<std::string> texts;
  for (int code = 0; code >= CS_E_BUSY; --code) {
    EXPECT_STRNE(cs_strerror(code), "unknown error") << code;
    texts.insert(cs_strerror(code));
  }
  EXPECT_EQ(texts.size(), 8u);
  EXPECT_STREQ(cs_strerror(1), "unknown error");
  EXPECT_STREQ(cs_strerror(INT32_MIN), "unknown error");
  EXPECT_STREQ(cs_tier_name(CS_TIER_WORD), "word");
  EXPECT_STREQ(cs_tier_name(77), "unknown");
}

}  // namespace
}  // namespace clonesafe::laboratory
