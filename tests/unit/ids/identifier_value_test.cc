// The C++ value types.
#include <gmock/gmock.h>

#include <iomanip>
#include <map>
#include <set>
#include <sstream>
#include <unordered_set>

#include "clonesafe/boost_uuid.hpp"
#include "clonesafe/clonesafe.hpp"
#include "tests/unit/ids/ids_laboratory.h"

namespace clonesafe::laboratory {
namespace {

class IdentifierValueTest : public IdsLaboratory {};

TEST_F(IdentifierValueTest, UuidsHaveVersionAndTime) {
  EXPECT_EQ(Uuid::v1().version(), 1);
  EXPECT_EQ(Uuid::v4().version(), 4);
  EXPECT_EQ(Uuid::random().version(), 4);
  EXPECT_EQ(Uuid::v6().version(), 6);
  EXPECT_EQ(Uuid::v7().version(), 7);
  EXPECT_EQ(Uuid().version(), 0);
  EXPECT_EQ(Uuid::v4().time(), std::nullopt);
  const auto rfc = Uuid::from_string("c232ab00-9414-11ec-b3c8-9f6bdeced846");
  ASSERT_TRUE(rfc);
  EXPECT_EQ(rfc->time()->time_since_epoch(), std::chrono::seconds(1'645'557'742));
  EXPECT_EQ(Uuid::v7().time()->time_since_epoch(),
            std::chrono::milliseconds(kSomeTimeNs / 1'000'000));
  EXPECT_EQ(Ulid::make().time().time_since_epoch(),
            std::chrono::milliseconds(kSomeTimeNs / 1'000'000));
  // 1582 fits.
  EXPECT_LT(Uuid::from_string("00000000-0000-1000-8000-000000000000")->time(), Uuid::TimePoint());
}

template <typename T>
void expect_ordered(const T& less, const T& greater) {
  const T same = less;
  EXPECT_TRUE(less < greater && less <= greater && greater > less && greater >= less);
  EXPECT_TRUE(less != greater && less == same && less <= same && less >= same);
  EXPECT_FALSE(less > greater || less >= greater || greater < less || greater <= less ||
               less == greater || less != same || less < same || less > same);
}

TEST_F(IdentifierValueTest, AreOrderedAndHashed) {
  const Uuid uuid = Uuid::v7();
  expect_ordered(uuid, Uuid::v7());
  const Ulid ulid = Ulid::make();
  expect_ordered(ulid, Ulid::make());
  std::map<Uuid, int> ordered = {{uuid, 1}};
  EXPECT_EQ(ordered[uuid], 1);
  // Versions 1 and 6 of one thread have a half in common.
  std::set<std::size_t> hashes;
  for (int i = 0; i < 1000; ++i) {
    hashes.insert(std::hash<Uuid>()(i % 2 == 0 ? Uuid::v1() : Uuid::v6()));
    hashes.insert(std::hash<Ulid>()(Ulid::make()));
  }
  EXPECT_EQ(hashes.size(), 2000u);
}

TEST_F(IdentifierValueTest, GoThroughStreams) {
  const Uuid uuid = Uuid::v7();
  const Ulid ulid = Ulid::make();
  std::stringstream stream;
  stream << uuid << ' ' << ulid << ",urn:uuid:" << uuid << '\n' << ulid;
  Uuid read_uuid;
  Ulid read_ulid;
  stream >> read_uuid >> read_ulid;
  EXPECT_EQ(read_uuid, uuid);
  EXPECT_EQ(read_ulid, ulid);
  EXPECT_EQ(stream.get(), ',');
  read_uuid = {};
  stream >> read_uuid;
  EXPECT_EQ(read_uuid, uuid);
  read_ulid = {};
  EXPECT_TRUE(stream >> read_ulid) << "the end of the input is no failure";
  EXPECT_EQ(read_ulid, ulid);
  EXPECT_FALSE(stream >> read_ulid);
  EXPECT_EQ(read_ulid, ulid);
  for (const char* bad : {"", "x", "{c232ab00-9414-11ec-b3c8-9f6bdeced846}",
                          "c232ab00-9414-11ec-b3c8-9f6bdeced8467", "01ARZ3NDEKTSV4RRFFQ69G5FAVX"}) {
    std::istringstream in(bad);
    in >> read_uuid;
    EXPECT_TRUE(in.fail()) << bad;
    std::istringstream again(bad);
    again >> read_ulid;
    EXPECT_TRUE(again.fail()) << bad;
  }
  EXPECT_EQ(read_uuid, uuid);
  EXPECT_EQ(read_ulid, ulid);
  // An endless word is not read to its end.
  std::istringstream endless(std::string(1'000, 'a'));
  endless >> read_uuid;
  EXPECT_TRUE(endless.fail());
  endless.clear();
  EXPECT_EQ(endless.tellg(), 46);
}

TEST_F(IdentifierValueTest, TextIsReadBackOrNothing) {
  const Uuid uuid = Uuid::v1();
  EXPECT_EQ(Uuid::from_string(uuid.to_string()), uuid);
  EXPECT_EQ(Uuid::from_string("nothing"), std::nullopt);
  EXPECT_EQ(Uuid::from_string({}), std::nullopt);
  const Ulid ulid = Ulid::make();
  EXPECT_EQ(Ulid::from_string(ulid.to_string()), ulid);
  EXPECT_EQ(Ulid::from_string(uuid.to_string()), std::nullopt);
}

TEST_F(IdentifierValueTest, FailuresAreThrown) {
  core::seams_for_testing.kernel_random = [](void*, std::size_t) { return -1; };
  restart();
  try {
    (void)Uuid::v7();
    FAIL();
  } catch (const LibraryError& error) {
    EXPECT_EQ(error.code(), CS_E_ENTROPY);
  }
  EXPECT_THROW((void)Ulid::make(), LibraryError);
}

TEST_F(IdentifierValueTest, BoostGeneratorsAreCloneSafe) {
  const BoostUuidV4 random;
  const BoostUuidV7 ordered;
  static_assert(std::is_same_v<BoostUuidV1::result_type, boost::uuids::uuid>);
  EXPECT_EQ(random().version(), boost::uuids::uuid::version_random_number_based);
  EXPECT_EQ(BoostUuidV1()().version(), boost::uuids::uuid::version_time_based);
  EXPECT_EQ(from_boost(BoostUuidV6()()).version(), 6);
  const boost::uuids::uuid earlier = ordered();
  EXPECT_LT(earlier, ordered());
  const Uuid uuid = Uuid::v7();
  EXPECT_EQ(from_boost(to_boost(uuid)), uuid);
  std::vector<Value> values;
  for (const auto& one : run_clones(4, [&](int clone) {
         write_page_as_vmm(restored_clone(clone));
         return std::vector<Value>{from_boost(random()).bytes(), from_boost(ordered()).bytes()};
       })) {
    values.insert(values.end(), one.begin(), one.end());
  }
  EXPECT_EQ(values.size(), 8u);
  EXPECT_EQ(count_repeated(values), 0u);
}

}  // namespace
}  // namespace clonesafe::laboratory
