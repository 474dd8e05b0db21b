// Layouts by the vectors of RFC 9562 and the ULID specification, and texts.
#include <gmock/gmock.h>

#include <cstring>

#include "libclonesafe/ids/layout.h"
#include "tests/unit/ids/ids_laboratory.h"

namespace clonesafe::laboratory {
namespace {

// RFC 9562, A.1 and A.5: 2022-02-22 19:22:22 UTC.
constexpr std::uint64_t kVectorTicks = 0x1ec9414c232ab00;
constexpr std::uint64_t kVectorMs = 0x017f22e279b0;
constexpr std::int64_t kVectorSeconds = 1'645'557'742;

ids::TimeBased time_based_vector() {
  return {.clock_sequence = 0x33c8,
          .node = {0x9f, 0x6b, 0xde, 0xce, 0xd8, 0x46},
          .ticks = kVectorTicks};
}

std::string text_of(const Value& uuid) {
  char text[37];
  cs_uuid_text(uuid.data(), text);
  return text;
}

TEST(IdentifierLayoutTest, IsThatOfTheRfcsVectors) {
  Value uuid = {};
  ids::put_uuid1(time_based_vector(), uuid.data());
  EXPECT_EQ(text_of(uuid), "c232ab00-9414-11ec-b3c8-9f6bdeced846");
  ids::put_uuid6(time_based_vector(), uuid.data());
  EXPECT_EQ(text_of(uuid), "1ec9414c-232a-6b00-b3c8-9f6bdeced846");
  const ids::Monotonic uuid7 = {.milliseconds = kVectorMs,
                                .tail = ids::Bits128{0xcc3} << 62 | 0x18c4dc0c0c07398f};
  ids::put_uuid7(uuid7, uuid.data());
  EXPECT_EQ(text_of(uuid), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

TEST(IdentifierLayoutTest, UlidHasTimeAndTailInOrder) {
  Value ulid = {};
  ids::put_ulid(
      {.milliseconds = 0x0102030405, .tail = ids::Bits128{0x0607} << 64 | 0x08090a0b0c0d0e0f},
      ulid.data());
  EXPECT_THAT(ulid, ::testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

TEST(IdentifierTextTest, TimeOfTheRfcsVectors) {
  for (const char* text :
       {"C232AB00-9414-11EC-B3C8-9F6BDECED846", "1EC9414C-232A-6B00-B3C8-9F6BDECED846",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F"}) {
    Value uuid = {};
    ASSERT_EQ(cs_uuid_parse(text, 36, uuid.data()), 0) << text;
    timespec time = {};
    ASSERT_EQ(cs_uuid_time(uuid.data(), &time), 0);
    EXPECT_EQ(time.tv_sec, kVectorSeconds);
    EXPECT_EQ(time.tv_nsec, 0);
    EXPECT_EQ(cs_uuid_version(uuid.data()), uuid[6] >> 4);
  }
  // The first instant there is: 1582-10-15.
  Value first = {};
  ids::put_uuid1({}, first.data());
  timespec time = {};
  ASSERT_EQ(cs_uuid_time(first.data(), &time), 0);
  EXPECT_EQ(time.tv_sec, -12'219'292'800);
  // One tick before 1970 is nearly a second after the second before.
  ids::put_uuid6({.ticks = ids::kGregorianToUnixTicks - 1}, first.data());
  ASSERT_EQ(cs_uuid_time(first.data(), &time), 0);
  EXPECT_EQ(time.tv_sec, -1);
  EXPECT_EQ(time.tv_nsec, 999'999'900);
}

TEST(IdentifierTextTest, VersionsWithoutATimeHaveNone) {
  timespec time = {.tv_sec = 4, .tv_nsec = 4};
  Value uuid = make(Kind::kUuid4);
  EXPECT_EQ(cs_uuid_version(uuid.data()), 4);
  EXPECT_EQ(cs_uuid_time(uuid.data(), &time), CS_E_INVALID);
  EXPECT_EQ(time.tv_sec, 0);
  EXPECT_EQ(time.tv_nsec, 0);
  // Another variant, nil and max.
  ids::put_uuid1(time_based_vector(), uuid.data());
  uuid[8] = 0xc0;
  EXPECT_EQ(cs_uuid_version(uuid.data()), 0);
  EXPECT_EQ(cs_uuid_time(uuid.data(), &time), CS_E_INVALID);
  uuid.fill(0);
  EXPECT_EQ(cs_uuid_version(uuid.data()), 0);
  uuid.fill(0xff);
  EXPECT_EQ(cs_uuid_version(uuid.data()), 0);
}

TEST(IdentifierTextTest, UuidsAreReadInTheRfcsTwoFormsAndNoOther) {
  const std::string good = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
  Value uuid = {};
  for (const std::string& text : {good, std::string("017F22E2-79B0-7Cc3-98C4-DC0C0C07398F"),
                                  "urn:uuid:" + good, "URN:Uuid:" + good}) {
    uuid.fill(0xee);
    EXPECT_EQ(cs_uuid_parse(text.data(), text.size(), uuid.data()), 0) << text;
    EXPECT_EQ(text_of(uuid), good);
  }
  for (const char* edge :
       {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}) {
    EXPECT_EQ(cs_uuid_parse(edge, 36, uuid.data()), 0);
    EXPECT_EQ(text_of(uuid), edge);
  }
  for (const std::string& text :
       {std::string(), good.substr(1), good + "0", " " + good, good + " ", "{" + good + "}",
        std::string("017f22e279b07cc398c4dc0c0c07398f"), "urn:uuid:" + good.substr(1),
        "urn:uuie:" + good, "urn:uuid" + good, std::string("017f22e-279b0-7cc3-98c4-dc0c0c07398f"),
        std::string("017f22e2-79b0-7cc3-98c4-dc0c0c07398g"),
        std::string("+17f22e2-79b0-7cc3-98c4-dc0c0c07398f"),
        std::string("0x7f22e2-79b0-7cc3-98c4-dc0c0c07398f"), std::string(36, '-'),
        good.substr(0, 35) + '\0'}) {
    uuid.fill(0xee);
    EXPECT_EQ(cs_uuid_parse(text.data(), text.size(), uuid.data()), CS_E_INVALID) << text;
    EXPECT_EQ(uuid, Value{}) << text;
  }
  EXPECT_EQ(cs_uuid_parse(nullptr, 36, uuid.data()), CS_E_INVALID);
  EXPECT_EQ(cs_uuid_parse(good.data(), 36, nullptr), CS_E_INVALID);
  EXPECT_EQ(cs_uuid_parse(good.data(), SIZE_MAX, uuid.data()), CS_E_INVALID);
}

TEST(IdentifierTextTest, UlidsAreReadStrictly) {
  // The specification's example, and its largest one.
  const std::string example = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  Value ulid = {};
  char text[27];
  ASSERT_EQ(cs_ulid_parse(example.data(), example.size(), ulid.data()), 0);
  EXPECT_EQ(cs_ulid_time(ulid.data()), 1469922850259u);
  EXPECT_THAT(ulid, ::testing::ElementsAre(0x01, 0x56, 0x3e, 0x3a, 0xb5, 0xd3, 0xd6, 0x76, 0x4c,
                                           0x61, 0xef, 0xb9, 0x93, 0x02, 0xbd, 0x5b));
  cs_ulid_text(ulid.data(), text);
  EXPECT_EQ(text, example);
  const Value same = ulid;
  ASSERT_EQ(cs_ulid_parse("01arz3ndektsv4rrffq69g5fav", 26, ulid.data()), 0);
  EXPECT_EQ(ulid, same);
  ASSERT_EQ(cs_ulid_parse("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", 26, ulid.data()), 0);
  EXPECT_THAT(ulid, ::testing::Each(0xff));
  EXPECT_EQ(cs_ulid_time(ulid.data()), 281474976710655u);
  for (const std::string& bad :
       {std::string("80000000000000000000000000"), std::string("8ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
        std::string("01ARZ3NDEKTSV4RRFFQ69G5FAI"), std::string("01ARZ3NDEKTSV4RRFFQ69G5FAL"),
        std::string("01ARZ3NDEKTSV4RRFFQ69G5FAO"), std::string("01ARZ3NDEKTSV4RRFFQ69G5FAU"),
        example.substr(1), example + "0", std::string(), std::string("01ARZ3NDEKTSV4RRFFQ69G5FA "),
        std::string("01ARZ3NDEKTSV4RRFFQ69G5FA-"), example.substr(0, 25) + '\0',
        std::string("-1ARZ3NDEKTSV4RRFFQ69G5FAV")}) {
    ulid.fill(0xee);
    EXPECT_EQ(cs_ulid_parse(bad.data(), bad.size(), ulid.data()), CS_E_INVALID) << bad;
    EXPECT_EQ(ulid, Value{}) << bad;
  }
  EXPECT_EQ(cs_ulid_parse(nullptr, 26, ulid.data()), CS_E_INVALID);
  EXPECT_EQ(cs_ulid_parse(example.data(), 26, nullptr), CS_E_INVALID);
}

TEST(IdentifierTextTest, EveryIdentifierIsReadBackFromItsText) {
  for (int i = 0; i < 300; ++i) {
    const Value value = make(kKinds[i % 5]);
    char text[37];
    Value read = {};
    cs_uuid_text(value.data(), text);
    ASSERT_EQ(cs_uuid_parse(text, 36, read.data()), 0);
    EXPECT_EQ(read, value);
    cs_ulid_text(value.data(), text);
    ASSERT_EQ(cs_ulid_parse(text, 26, read.data()), 0);
    EXPECT_EQ(read, value);
  }
}

}  // namespace
}  // namespace clonesafe::laboratory
