// The file of users.
#include "proxy/protocols/postgres/users.h"

#include <gtest/gtest.h>

#include "tests/unit/proxy/process_memory.h"

namespace clonesafe::proxy::postgres {
namespace {

TEST(PostgresUsersTest, LinesAreReadAsPgBouncerDoes) {
  const auto users = Users::parse(
      "; people\n"
      "\"ann\" \"se\"\"cret\"\n"
      "\n"
      "  \"b o\" \"\" and what follows\r\n"
      "# programs\n"
      "\"web\" \"md50123456789abcdef0123456789abcdef\"",
      "users");
  ASSERT_TRUE(users) << users.error().message();
  ASSERT_NE(users->find("ann"), nullptr);
  EXPECT_EQ(users->find("ann")->view(), "se\"cret");
  ASSERT_NE(users->find("b o"), nullptr);
  EXPECT_EQ(users->find("b o")->view(), "");
  ASSERT_NE(users->find("web"), nullptr);
  EXPECT_TRUE(is_md5(users->find("web")->view()));
  EXPECT_EQ(users->find("nobody"), nullptr);
}

TEST(PostgresUsersTest, AMistakeNamesFileAndLineAndNoSecret) {
  const auto message = [](const char* text) {
    const auto users = Users::parse(text, "users");
    return users ? std::string() : users.error().message();
  };
  EXPECT_EQ(message("\"ann\" \"secret\"\nann secret\n"), "users, line 2: no user's name in quotes");
  EXPECT_EQ(message("\"ann\" \"secret"),
            "users, line 1: no password in quotes behind the user's name");
  EXPECT_EQ(message("\"ann\" \"secret\"\n\"ann\" \"other\""),
            "users, line 2: the user is there twice");
  EXPECT_EQ(message("\"\" \"secret\""), "users, line 1: no user's name in quotes");
}

TEST(PostgresUsersTest, NothingOfASecretIsLeftBehind) {
  std::string text;
  {
    std::string secret = long_secret();
    text.reserve(2 * secret.size());
    text.append("\"ann\" \"").append(secret).append("\"\n");
    wipe(secret);
  }
  EXPECT_TRUE(Users::parse(text, "users"));
  EXPECT_TRUE(is_left_of_long_secret()) << "it was not searched";
  wipe(text);
  EXPECT_FALSE(is_left_of_long_secret());
}

}  // namespace
}  // namespace clonesafe::proxy::postgres
