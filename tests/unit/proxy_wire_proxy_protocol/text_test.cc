#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/proxy_protocol/header.h"

namespace clonesafe::wire::proxy_protocol {
namespace {

using std::string_view_literals::operator""sv;

// What HAProxy 2.6.12 (send-proxy) and curl 7.88.1 (--haproxy-protocol) sent.
constexpr std::string_view kHaproxy = "PROXY TCP4 127.0.0.1 127.0.0.1 58364 17520\r\n";
constexpr std::string_view kCurl = "PROXY TCP4 127.0.0.1 127.0.0.1 34322 17403\r\n";

TEST(TextHeader, ReadsRecordedBytes) {
  for (const std::string_view text : {kHaproxy, kCurl}) {
    const auto header = parse_header(std::string(text) + "GET / HTTP/1.1\r\n");
    ASSERT_TRUE(header) << header.error().message();
    ASSERT_TRUE(*header);
    EXPECT_EQ((*header)->version, 1);
    EXPECT_EQ((*header)->transport, Transport::kTcp4);
    EXPECT_EQ(ipv4_text((*header)->source), "127.0.0.1");
    EXPECT_EQ((*header)->source.port, text == kHaproxy ? 58364 : 34322);
    EXPECT_EQ((*header)->destination.port, text == kHaproxy ? 17520 : 17403);
    EXPECT_EQ((*header)->size, text.size());
  }
}

TEST(TextHeader, WaitsForItsEnd) {
  for (std::size_t size = 0; size < kHaproxy.size(); ++size) {
    const auto header = parse_header(kHaproxy.substr(0, size));
    ASSERT_TRUE(header) << size << header.error().message();
    EXPECT_FALSE(*header) << size;
  }
}

TEST(TextHeader, IsWrittenAsItWasRead) {
  for (const std::string_view text :
       {kHaproxy, "PROXY UNKNOWN\r\n"sv, "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"sv,
        "PROXY TCP4 255.255.255.255 0.0.0.0 65535 65535\r\n"sv}) {
    const auto header = parse_header(text);
    ASSERT_TRUE(header && *header) << text;
    std::string again;
    ASSERT_TRUE(append_header(again, **header));
    EXPECT_EQ(again, text);
  }
}

TEST(TextHeader, OfUnknownTheRestIsSkipped) {
  const auto longest =
      "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
      "65535 65535\r\n"sv;
  EXPECT_EQ(longest.size(), 107u);
  const auto header = parse_header(longest);
  ASSERT_TRUE(header && *header);
  EXPECT_EQ((*header)->transport, Transport::kUnspecified);
  EXPECT_EQ((*header)->size, 107u);
  EXPECT_EQ((*header)->source, Address());
}

TEST(TextHeader, RefusesOtherForms) {
  for (const std::string_view text : {"GET / HTTP/1.1\r\n"sv,
                                      "PROXZ"sv,
                                      "proxy TCP4"sv,
                                      "PROXY\r\n"sv,
                                      "PROXY \r\n"sv,
                                      "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"sv,
                                      "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"sv,
                                      "PROXY TCP4 1.2.3.4\r\n"sv,
                                      "PROXY TCP4\r\n"sv,
                                      "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n"sv,
                                      "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n"sv,
                                      "PROXY TCP4 1.2.3.4 1.2.3.4 a 2\r\n"sv,
                                      "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n"sv,
                                      "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n"sv,
                                      "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n"sv,
                                      "PROXY TCP4 ::1 ::1 1 2\r\n"sv,
                                      "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n"sv,
                                      "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"sv,
                                      "PROXY TCP6 ::g ::1 1 2\r\n"sv,
                                      "PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n"sv}) {
    const auto header = parse_header(text);
    ASSERT_FALSE(header) << text;
    EXPECT_THAT(header.error().message(), testing::StartsWith("PROXY header: "));
  }
  const std::string endless = "PROXY UNKNOWN " + std::string(92, 'x');
  EXPECT_FALSE(parse_header(endless));
  EXPECT_TRUE(parse_header(endless.substr(0, 105)));
}

TEST(TextHeader, AVersionCanBeRuledOut) {
  EXPECT_FALSE(parse_header(kCurl, {}, Accept::kBinaryOnly));
  EXPECT_TRUE(parse_header(kCurl, {}, Accept::kTextOnly));
  EXPECT_FALSE(parse_header("\r\n\r\n", {}, Accept::kTextOnly));
  EXPECT_TRUE(parse_header("\r\n\r\n", {}, Accept::kBinaryOnly));
}

TEST(TextHeader, HasNoFormForOtherTransports) {
  std::string out = "kept";
  EXPECT_FALSE(append_header(out, {.version = 1, .transport = Transport::kUnixStream}));
  EXPECT_FALSE(append_header(out, {.version = 1, .transport = Transport::kUdp4}));
  EXPECT_EQ(out, "kept");
}

}  // namespace
}  // namespace clonesafe::wire::proxy_protocol
