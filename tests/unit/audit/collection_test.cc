#include "tests/audit/core/collection.h"

#include <gmock/gmock.h>

namespace clonesafe::audit {
namespace {

TEST(Collection, FilesComeOutAsTheyWentIn) {
  const auto collection =
      parse_collection("file log/a 4\nend\nfile identity/machine-id 3\nabcfile ended 0\nend\n");
  ASSERT_TRUE(collection) << collection.error().message();
  EXPECT_EQ(collection->files.at("log/a"), "end\n");
  EXPECT_EQ(collection->files.at("identity/machine-id"), "abc");
  EXPECT_EQ(collection->files.at("ended"), "");
}

TEST(Collection, EveryCutIsRefused) {
  const std::string whole = "file log/a 4\n1234file ended 0\nend\n";
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(parse_collection(whole.substr(0, size))) << size;
  }
}

TEST(Collection, ForeignLinesAndPathsAreRefused) {
  for (const char* bytes :
       {"file ../x 0\nend\n", "file /etc/passwd 0\nend\n", "file a/../../b 0\nend\n",
        "file a\nend\n", "file a -1\nend\n", "file a 99999999999999999999\nend\n", "hello\nend\n",
        "error frozen\n"}) {
    EXPECT_FALSE(parse_collection(bytes)) << bytes;
  }
}

TEST(Collection, ASavedCollectionIsLoadedAsItWas) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "audit-collection";
  std::filesystem::remove_all(folder);
  Collection collection;
  collection.files = {{"log/a", std::string("\0\1\n", 3)}, {"ended", ""}};
  ASSERT_TRUE(collection.save(folder));
  const auto loaded = Collection::load(folder);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->files, collection.files);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace clonesafe::audit
