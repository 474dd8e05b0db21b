#include "proxy/wire/postgres/startup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/proxy_wire_postgres/captured.h"

namespace clonesafe::wire::postgres {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using PacketKind = StartupPacket::Kind;

std::string packet(std::uint32_t length, std::uint32_t code, std::string_view rest) {
  std::string bytes;
  for (const std::uint32_t number : {length, code}) {
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(number >> shift);
  }
  return bytes += rest;
}

std::string packet(std::uint32_t code, std::string_view rest) {
  return packet(static_cast<std::uint32_t>(8 + rest.size()), code, rest);
}

std::string error_of(std::string_view bytes) {
  StartupFramer framer;
  auto packet = framer.next(bytes);
  return packet ? std::string("none") : packet.error().message();
}

TEST(Startup, ReadsWhatPsqlSends) {
  StartupFramer framer;
  auto input = captured::kPsqlClient;
  const auto packet = framer.next(input);
  ASSERT_TRUE(packet && *packet);
  EXPECT_EQ((*packet)->kind, PacketKind::kStartup);
  EXPECT_EQ((*packet)->version, kVersion30);
  EXPECT_THAT((*packet)->parameters,
              ElementsAre(Parameter{"user", "alice"}, Parameter{"database", "postgres"},
                          Parameter{"application_name", "psql"}));
  EXPECT_EQ((*packet)->parameter("database"), "postgres");
  EXPECT_EQ((*packet)->parameter("options"), std::nullopt);
  // What follows is a Framer's.
  EXPECT_EQ(input.front(), 'p');
  EXPECT_EQ(captured::kPsqlClient.size() - input.size(), 60U);
}

TEST(Startup, IsTheSameAtEachSplit) {
  std::string stream;
  append_gss_request(stream);
  append_tls_request(stream);
  ASSERT_TRUE(append_startup(stream, kVersion32, {{"user", "u"}, {"_pq_.x", "1"}}));
  for (std::size_t read = 1; read <= stream.size(); ++read) {
    StartupFramer framer;
    std::vector<PacketKind> kinds;
    std::uint32_t minor = 0;
    for (std::size_t at = 0; at < stream.size(); at += read) {
      auto input = std::string_view(stream).substr(at, read);
      while (true) {
        const auto packet = framer.next(input);
        ASSERT_TRUE(packet);
        if (!*packet) break;
        kinds.push_back((*packet)->kind);
        minor = (*packet)->minor_version();
      }
      EXPECT_TRUE(input.empty());
    }
    EXPECT_THAT(
        kinds, ElementsAre(PacketKind::kGssRequest, PacketKind::kTlsRequest, PacketKind::kStartup));
    EXPECT_EQ(minor, 2U);
    EXPECT_TRUE(framer.between_packets());
  }
}

TEST(Startup, LeavesWhatFollowsATlsRequest) {
  std::string stream;
  append_tls_request(stream);
  stream += "stuffed";
  StartupFramer framer;
  std::string_view input = stream;
  EXPECT_EQ((*framer.next(input))->kind, PacketKind::kTlsRequest);
  EXPECT_EQ(input, "stuffed");
}

TEST(Startup, TellsATlsRecordAndTakesNothingOfIt) {
  StartupFramer framer;
  std::string_view input = "\x16\x03\x01";
  const auto packet = framer.next(input);
  EXPECT_EQ((*packet)->kind, PacketKind::kTlsRecord);
  EXPECT_EQ(input.size(), 3U);
}

TEST(Startup, ReadsCancelRequestsWithKeysOfBothProtocols) {
  for (const std::size_t size : {std::size_t{4}, std::size_t{32}, kMaxKeySize}) {
    const std::string key(size, 'k');
    std::string bytes;
    ASSERT_TRUE(append_cancel_request(bytes, 0x80000001, key));
    StartupFramer framer;
    std::string_view input = bytes;
    const auto packet = framer.next(input);
    ASSERT_TRUE(packet && *packet);
    EXPECT_EQ((*packet)->kind, PacketKind::kCancel);
    EXPECT_EQ((*packet)->process, 0x80000001);
    EXPECT_EQ((*packet)->key, key);
  }
  std::string bytes;
  EXPECT_FALSE(append_cancel_request(bytes, 1, "abc"));
  EXPECT_FALSE(append_cancel_request(bytes, 1, std::string(kMaxKeySize + 1, 'k')));
  EXPECT_EQ(bytes, "");
}

TEST(Startup, RefusesWrongPackets) {
  using namespace std::string_view_literals;
  const auto user = "user\0u\0\0"sv;
  struct Case {
    std::string bytes;
    const char* error;
  };
  const std::vector<Case> cases = {
      {packet(kVersion30, user), "none"},
      {packet(7, kVersion30, ""), "startup packet: length 7, 8 to 10000 are allowed"},
      {packet(10001, kVersion30, ""), "length 10001"},
      {packet(0xffffffff, kVersion30, ""), "length 4294967295"},
      {"GET / HTTP/1.1\r\n\r\n", "length 1195725856"},
      {packet(2 << 16, user), "byte 4 of its body: protocol 2.0 isn't supported"},
      {packet(4 << 16 | 1, user), "protocol 4.1 isn't supported"},
      {packet(1234 << 16 | 5681, ""), "request code 1234.5681 is unknown"},
      {packet(kTlsRequestCode, "x"), "SSLRequest, byte 4 of its body: 1 bytes too many"},
      {packet(kGssRequestCode, user), "GSSENCRequest, byte 4 of its body: 8 bytes too many"},
      {packet(kCancelRequestCode, "\0\0\0\1abc"sv), "a key of 3 bytes, 4 to 256 are allowed"},
      {packet(kCancelRequestCode, "\0\0"sv), "CancelRequest, byte 4 of its body: 4 bytes expected"},
      {packet(kCancelRequestCode, std::string(4 + 257, 'k')), "a key of 257 bytes"},
      {packet(kVersion30, ""), "StartupMessage, byte 4 of its body: text without its"},
      {packet(kVersion30, "\0"sv), "no user is named"},
      {packet(kVersion30, "database\0d\0\0"sv), "no user is named"},
      {packet(kVersion30, "user\0\0\0"sv), "no user is named"},
      {packet(kVersion30, "user\0u\0"sv), "text without its terminating zero"},
      {packet(kVersion30, "user\0u"sv), "text without its terminating zero"},
      {packet(kVersion30, "user\0u\0\0x"sv), "bytes behind the end of the parameters"},
      {packet(kVersion30, "user\0u\0user\0v\0\0"sv), "a parameter is there twice"},
  };
  for (const auto& each : cases) {
    EXPECT_THAT(error_of(each.bytes), HasSubstr(each.error));
    EXPECT_EQ(error_of(each.bytes).find('\0'), std::string::npos);
  }
}

TEST(Startup, KeepsToTheCallersLimitAndStaysInError) {
  StartupFramer framer(20);
  const auto bytes = packet(kVersion30, std::string(13, 'x'));
  std::string_view input = bytes;
  EXPECT_THAT(framer.next(input).error().message(), HasSubstr("length 21, 8 to 20 are allowed"));
  std::string good;
  append_tls_request(good);
  input = good;
  EXPECT_FALSE(framer.next(input));
}

TEST(Startup, WritesNothingThatCanNotBeRead) {
  using namespace std::string_view_literals;
  std::string out = "before";
  EXPECT_FALSE(append_startup(out, kVersion30, {{"user", "a\0b"sv}}));
  EXPECT_FALSE(append_startup(out, kVersion30, {{"", "a"}}));
  const std::string long_text(kMaxStartupPacket, 'x');
  EXPECT_FALSE(append_startup(out, kVersion30, {{"user", long_text}}));
  EXPECT_EQ(out, "before");
}

TEST(Startup, TakesNoAnswerToAnEncryptionRequestButTheProtocols) {
  EXPECT_TRUE(*accepts_encryption(PacketKind::kTlsRequest, 'S'));
  EXPECT_FALSE(*accepts_encryption(PacketKind::kTlsRequest, 'N'));
  EXPECT_TRUE(*accepts_encryption(PacketKind::kGssRequest, 'G'));
  EXPECT_FALSE(*accepts_encryption(PacketKind::kGssRequest, 'N'));
  // An error in clear may be anybody's.
  EXPECT_THAT(accepts_encryption(PacketKind::kTlsRequest, 'E').error().message(),
              HasSubstr("answer 'E' to SSLRequest"));
  EXPECT_FALSE(accepts_encryption(PacketKind::kTlsRequest, 'G'));
  EXPECT_FALSE(accepts_encryption(PacketKind::kGssRequest, 'S'));
}

TEST(Startup, KnowsProtocolOptions) {
  EXPECT_TRUE(is_protocol_option("_pq_.command_tag_format"));
  EXPECT_FALSE(is_protocol_option("search_path"));
}

}  // namespace
}  // namespace clonesafe::wire::postgres
