#include "vmm_device/snapshot/image.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "libclonesafe/base/mapping.h"
#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/snapshot/files.h"

// Images of a running machine: handed from process to process, never in a file.
namespace clonesafe::snapshot {
namespace {

using testing::HasSubstr;

class ImageTest : public SnapshotTest {
 protected:
  void SetUp() override {
    auto taken = capture(guest_.request());
    ASSERT_TRUE(taken) << taken.error().message();
    image_ = std::move(*taken);
  }
  Image image_;
};

TEST_F(ImageTest, HoldsStateAndMemoryOfItsTime) {
  const auto before = guest_.image();
  guest_.low()[0] ^= std::byte{0xff};  // the source goes on
  auto snapshot = read_image(image_.state.get(), image_.memory.get());
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->digest(), image_.digest);
  EXPECT_EQ(snapshot->count(Tag::vcpu), 2u);
  EXPECT_EQ(snapshot->memory_map().size(), 2u);
  auto mapping =
      Mapping::map("memory", SmallGuest::kSize, PROT_READ, MAP_PRIVATE, image_.memory.get());
  ASSERT_TRUE(mapping);
  EXPECT_EQ(std::vector(mapping->bytes().begin(), mapping->bytes().end()), before);
}

TEST_F(ImageTest, TakesNoRoomForZeros) {
  EXPECT_EQ(image_.data_size, 3 * SmallGuest::kPage);
  struct stat status = {};
  ASSERT_EQ(::fstat(image_.memory.get(), &status), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_blocks) * 512, 3 * SmallGuest::kPage);
}

TEST_F(ImageTest, HasNoSecrets) {
  auto request = guest_.request();
  request.zero_ranges = {{GuestAddress(5 * SmallGuest::kPage + 100), 32, "key"}};
  auto image = capture(request);
  ASSERT_TRUE(image);
  std::vector<std::byte> key(32);
  ASSERT_TRUE(read_exactly(image->memory.get(), key, 5 * SmallGuest::kPage + 100, "memory"));
  EXPECT_EQ(key, std::vector<std::byte>(32));
}

TEST_F(ImageTest, IsRefusedUnlessSealed) {
  auto bytes = std::vector<std::byte>(SmallGuest::kSize);
  auto open_memory = make_memory(bytes.size());
  ASSERT_TRUE(open_memory);
  EXPECT_THAT(read_image(image_.state.get(), open_memory->get()).error().message(),
              HasSubstr("not sealed"));
  EXPECT_THAT(read_image(open_memory->get(), image_.memory.get()).error().message(),
              HasSubstr("not sealed"));
}

TEST_F(ImageTest, IsRefusedWithAnotherMemory) {
  auto memory = make_memory(SmallGuest::kSize - 4096);
  ASSERT_TRUE(memory && seal_memory(memory->get()));
  EXPECT_THAT(read_image(image_.state.get(), memory->get()).error().message(),
              HasSubstr("its state says"));
}

TEST_F(ImageTest, IsNoSnapshotAndASnapshotIsNoImage) {
  write_small();
  std::vector<std::byte> state(*file_size(image_.state.get(), "state"));
  ASSERT_TRUE(read_exactly(image_.state.get(), state, 0, "state"));
  EXPECT_THAT(parse_state(state, "state").error().message(), HasSubstr("an image of a running"));
  write_file(state_file(), state);
  EXPECT_THAT(open(dir()).error().message(), HasSubstr("an image of a running machine"));
}

}  // namespace
}  // namespace clonesafe::snapshot
