#include "proxy/core/address.h"

#include <gtest/gtest.h>

#include "proxy/core/network.h"

namespace clonesafe::proxy {
namespace {

TEST(ParseAddress, TakesHostsNumbersAndUnixSockets) {
  for (const char* text : {"127.0.0.1:5432", "[::1]:80", "db.example:5432", "unix:/run/db.sock"}) {
    const auto address = parse_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), text);
  }
}

TEST(ParseAddress, SaysWhatIsWrong) {
  for (const char* text :
       {"", ":", "host", "host:", ":80", "host:0", "host:65536", "host:8x", "::1:80", "[::1]",
        "[::g]:80", "[]:80", "a b:80", "unix:", "unix:relative", "host:-1"}) {
    const auto address = parse_address(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().message().find('\n'), std::string::npos);
    EXPECT_NE(address.error().message().find("is no address ("), std::string::npos) << text;
  }
  EXPECT_FALSE(parse_address("unix:/" + std::string(107, 'x')));
}

TEST(Endpoints, SayWhetherTheyAreThisMachine) {
  const auto local = [](const char* text) {
    return is_local(numeric_endpoint(*parse_address(text)).value());
  };
  EXPECT_TRUE(local("127.9.9.9:80"));
  EXPECT_TRUE(local("[::1]:80"));
  EXPECT_TRUE(local("[::ffff:127.0.0.1]:80"));
  EXPECT_TRUE(local("unix:/run/db.sock"));
  EXPECT_FALSE(local("128.0.0.1:80"));
  EXPECT_FALSE(local("[::2]:80"));
  EXPECT_FALSE(local("[::ffff:10.0.0.1]:80"));
}

TEST(Endpoints, AreToldAsTheyAreWritten) {
  for (const char* text : {"127.0.0.1:5432", "[::1]:80", "unix:/run/db.sock"})
    EXPECT_EQ(to_text(numeric_endpoint(*parse_address(text)).value()), text);
  for (const char* text : {"127.0.0.1:5432", "[::1]:80", "unix:/run/db.sock"})
    EXPECT_EQ(address_of(numeric_endpoint(*parse_address(text)).value()).text(), text);
  // With its interface.
  const Address link{.host = "fe80::1%lo", .port = 80, .path = {}};
  EXPECT_EQ(address_of(numeric_endpoint(link).value()).text(), "[fe80::1%lo]:80");
  for (const char* text : {"10.0.0.0/8", "10.0.0.1/32", "fc00::/7", "::/0", "unix"})
    EXPECT_EQ(Network::parse(text).value().text(), text);
  EXPECT_EQ(port_of(numeric_endpoint(*parse_address("[::1]:80")).value()), 80);
  EXPECT_FALSE(numeric_endpoint(*parse_address("db.example:80")));
}

}  // namespace
}  // namespace clonesafe::proxy
