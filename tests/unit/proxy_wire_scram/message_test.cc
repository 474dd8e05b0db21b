#include "proxy/wire/scram/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/scram/base64.h"
#include "tests/unit/proxy_wire_scram/examples.h"

namespace clonesafe::wire::scram {
namespace {

using testing::HasSubstr;

TEST(ScramMessage, IsReadWholeOrNotAtAll) {
  EXPECT_TRUE(parse_client_first(rfc7677::kClientFirst));
  EXPECT_TRUE(parse_server_first(rfc7677::kServerFirst));
  EXPECT_TRUE(parse_client_final(rfc7677::kClientFinal));
  for (std::size_t size = 0; size < rfc7677::kClientFinal.size(); ++size)
    EXPECT_FALSE(parse_client_final(rfc7677::kClientFinal.substr(0, size))) << size;
  // The last attribute may be shorter, if it isn't empty: a nonce, a number.
  for (std::size_t size = 0; size <= rfc7677::kServerFirst.find(",i=") + 3; ++size)
    EXPECT_FALSE(parse_server_first(rfc7677::kServerFirst.substr(0, size))) << size;
  for (std::size_t size = 0; size <= rfc7677::kClientFirst.find(",r=") + 3; ++size)
    EXPECT_FALSE(parse_client_first(rfc7677::kClientFirst.substr(0, size))) << size;
}

TEST(ScramMessage, SignsAllButTheProof) {
  const std::string text = "c=biws,r=x,y=z,p=" + base64(std::string(32, 'p'));
  const auto final = parse_client_final(text);
  ASSERT_TRUE(final);
  EXPECT_EQ(final->without_proof, "c=biws,r=x,y=z");
  EXPECT_EQ(final->proof.view(), std::string(32, 'p'));
}

TEST(ScramMessage, ErrorsNameTheByte) {
  EXPECT_THAT(parse_server_first("r=x,s=c2FsdA==,q=1").error().message(),
              HasSubstr("SCRAM server-first-message, byte 15: attribute i expected"));
  EXPECT_THAT(parse_server_first("r=x,s=c2FsdA,i=1").error().message(),
              HasSubstr("in front of it a salt that isn't base64"));
}

TEST(ScramMessage, IterationsAreAPositiveNumberWithALimit) {
  EXPECT_EQ(parse_iterations("4096"), 4096U);
  EXPECT_EQ(parse_iterations("1000000"), 1'000'000U);
  for (const auto wrong : {"", "0", "01", "-1", "+1", "1 ", "1000001", "99999999999", "x"})
    EXPECT_EQ(parse_iterations(wrong), std::nullopt) << wrong;
}

TEST(ScramBase64, IsReadOnlyAsItIsWritten) {
  for (const std::string bytes : {"", "a", "ab", "abc", "abcd", "\xff\xfe"})
    EXPECT_EQ(from_base64(base64(bytes)), bytes);
  EXPECT_EQ(base64("ab"), "YWI=");
  for (const auto wrong : {"Y", "YW", "YWI", "YWJ=", "YQ=", "Y===", "====", "=", " YWI=", "YWI=\n",
                           "YW I", "YQ==YQ==", "YW-_", "Y=I="})
    EXPECT_EQ(from_base64(wrong), std::nullopt) << wrong;
}

}  // namespace
}  // namespace clonesafe::wire::scram
