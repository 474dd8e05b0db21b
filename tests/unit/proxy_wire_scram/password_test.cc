#include "proxy/wire/scram/password.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace clonesafe::wire::scram {
namespace {

using testing::HasSubstr;

std::string prepared(std::string_view password) {
  const auto result = prepare_password(password);
  return result ? std::string(result->view()) : result.error().message();
}

TEST(Password, IsPreparedBySaslprep) {
  // RFC 4013, section 3.
  EXPECT_EQ(prepared("I\u00adX"), "IX");
  EXPECT_EQ(prepared("user"), "user");
  EXPECT_EQ(prepared("\u00aa"), "a");
  EXPECT_EQ(prepared("\u2168"), "IX");
  // A space that isn't ASCII's, and a letter that is put together.
  EXPECT_EQ(prepared("a\u00a0b"), "a b");
  EXPECT_EQ(prepared("e\u0301"), "\u00e9");
}

TEST(Password, IsTakenAsItIsWhereSaslprepForbidsIt) {
  // As PostgreSQL does. Control characters of ASCII are no matter to it.
  for (const std::string password : {"\x07", "\u0627\u0031", "\u00e9\x07", "\xff\xfe", "\u00e9\xff",
                                     "\U0001f600e\u0301", "\u00ad"})
    EXPECT_EQ(prepared(password), password);
}

TEST(Password, HasALimit) {
  EXPECT_EQ(prepared(std::string(kMaxPassword, 'x')), std::string(kMaxPassword, 'x'));
  EXPECT_THAT(prepared(std::string(kMaxPassword + 1, 'x')), HasSubstr("the limit is 4096"));
  EXPECT_THAT(prepared(""), HasSubstr("empty"));
  EXPECT_THAT(prepared(std::string_view("a\0b", 3)), HasSubstr("a zero byte"));
}

TEST(Md5, IsThatOfPostgresql) {
  // PostgreSQL 15: SET password_encryption = md5; CREATE ROLE bob PASSWORD 'secret'.
  const auto verifier = md5_verifier("secret", "bob");
  ASSERT_TRUE(verifier);
  EXPECT_EQ(verifier->view(), "md521f3163f8f86fa10bdefbfbd502a8f06");
  const std::array<char, 4> salt = {'\1', '\2', '\3', '\xff'};
  const auto response = md5_response(verifier->view(), salt);
  ASSERT_TRUE(response);
  EXPECT_EQ(*response, "md5b54184d151d043b5711f3bb3cd385110");
  EXPECT_TRUE(check_md5_response(*response, verifier->view(), salt));
  EXPECT_FALSE(check_md5_response(*response, verifier->view(), {{'\1', '\2', '\3', '\4'}}));
  EXPECT_FALSE(check_md5_response("", verifier->view(), salt));
  EXPECT_FALSE(check_md5_response(*response + "0", verifier->view(), salt));
  EXPECT_THAT(md5_response("secret", salt).error().message(), HasSubstr("32 digits"));
}

}  // namespace
}  // namespace clonesafe::wire::scram
