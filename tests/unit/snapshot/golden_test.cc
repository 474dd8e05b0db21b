#include "tests/unit/snapshot/fixture.h"

// A snapshot of format 1.0 as the first version wrote it (golden/format-1.0), which every later
// version must read. memory.img is all that SmallGuest holds; git keeps no holes, so it has none.
namespace clonesafe::snapshot {
namespace {

TEST(GoldenSnapshot, OfFormat1Point0StillLoads) {
  const std::filesystem::path dir = std::filesystem::path(CLONESAFE_GOLDEN_DIR) / "format-1.0";
  auto snapshot = verify(dir);
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->header().format_major, 1);
  EXPECT_EQ(snapshot->header().format_minor, 0);
  EXPECT_TRUE(snapshot->agent_connected());
  EXPECT_EQ(snapshot->count(Tag::vcpu), 2u);
  const auto second = snapshot->section(Tag::vcpu, 1);
  ASSERT_TRUE(second);
  EXPECT_EQ(std::vector(second->bytes.begin(), second->bytes.end()), bytes_of("vcpu one"));
  ASSERT_EQ(snapshot->memory_map().size(), 2u);
  EXPECT_EQ(snapshot->memory_map()[1].start, GuestAddress(SmallGuest::kHighStart));
  EXPECT_TRUE(snapshot->import_memory());
  EXPECT_EQ(read_file(dir / kMemoryFile), SmallGuest().image());
}

}  // namespace
}  // namespace clonesafe::snapshot
