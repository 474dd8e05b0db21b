#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/proxy_protocol/crc32c.h"
#include "proxy/wire/proxy_protocol/header.h"
#include "proxy/wire/proxy_protocol/tlv.h"

namespace clonesafe::wire::proxy_protocol {
namespace {

using std::string_literals::operator""s;
using std::string_view_literals::operator""sv;
using testing::HasSubstr;

// What HAProxy 2.6.12 sent: send-proxy-v2, and with proxy-v2-options crc32c,unique-id.
constexpr std::string_view kPlain =
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\xec\xe6\x44\x71"sv;
constexpr std::string_view kChecked =
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x22\x7f\0\0\x01\x7f\0\0\x01\x82\x24\x44\x72"
    "\x03\0\x04\x80\x63\x74\xec\x05\0\x0cid-127.0.0.1"sv;

std::string with(std::string_view bytes, std::size_t at, std::string_view other) {
  return std::string(bytes).replace(at, other.size(), other);
}

std::vector<std::string> tlvs_of(std::string_view tlvs) {
  std::vector<std::string> texts;
  TlvReader reader(tlvs);
  while (true) {
    const auto tlv = reader.next();
    if (!tlv) texts.push_back(tlv.error().message());
    if (!tlv || !*tlv) return texts;
    texts.push_back(std::to_string(static_cast<int>((*tlv)->type)) + ":" +
                    std::string((*tlv)->value));
  }
}

TEST(BinaryHeader, ReadsRecordedBytes) {
  const std::string bytes = std::string(kPlain) + "GET";
  auto header = parse_header(bytes);
  ASSERT_TRUE(header && *header);
  EXPECT_EQ((*header)->version, 2);
  EXPECT_EQ((*header)->command, Command::kProxy);
  EXPECT_EQ((*header)->transport, Transport::kTcp4);
  EXPECT_EQ(ipv4_text((*header)->source), "127.0.0.1");
  EXPECT_EQ((*header)->source.port, 60646);
  EXPECT_EQ((*header)->destination.port, 17521);
  EXPECT_EQ((*header)->size, kPlain.size());
  EXPECT_TRUE((*header)->tlvs.empty());

  header = parse_header(kChecked);
  ASSERT_TRUE(header) << header.error().message();
  ASSERT_TRUE(*header);
  EXPECT_THAT(tlvs_of((*header)->tlvs),
              testing::ElementsAre("3:\x80\x63\x74\xec", "5:id-127.0.0.1"));
}

TEST(BinaryHeader, WaitsForItsEnd) {
  for (const std::string_view bytes : {kPlain, kChecked}) {
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const auto header = parse_header(bytes.substr(0, size));
      ASSERT_TRUE(header) << size << header.error().message();
      EXPECT_FALSE(*header) << size;
    }
  }
}

TEST(BinaryHeader, AByteThatChangedIsFoundByTheChecksum) {
  for (std::size_t at = 16; at < kChecked.size(); ++at) {
    std::string bytes(kChecked);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    const auto header = parse_header(bytes);
    // The checksum's own type and size: then it is another entry.
    if (at == 28) continue;
    EXPECT_FALSE(header) << at;
  }
}

TEST(BinaryHeader, IsReadAsItWasWritten) {
  const Address one{.ip = {10, 0, 0, 1}, .port = 1};
  const Address other{.ip = {192, 0, 2, 255}, .port = 65535};
  const Address six{.ip = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}, .port = 443};
  const std::string longest(kUnixPathSize, 'p');
  for (const Header& header : {
           Header{.transport = Transport::kTcp4, .source = one, .destination = other},
           Header{.transport = Transport::kUdp4, .source = other, .destination = one},
           Header{.transport = Transport::kTcp6, .source = six, .destination = {.port = 2}},
           Header{.transport = Transport::kUdp6, .source = {}, .destination = six},
           Header{.transport = Transport::kUnixStream,
                  .source = {},
                  .destination = {.path = "/run/a.sock"}},
           Header{.transport = Transport::kUnixDatagram,
                  .source = {.path = longest},
                  .destination = {.path = "\0abstract\0name"sv}},
           Header{.command = Command::kLocal},
           Header{.transport = Transport::kUnspecified, .tlvs = "\x04\0\0"sv},
       }) {
    for (const bool checksum : {false, true}) {
      std::string bytes;
      ASSERT_TRUE(append_header(bytes, header, checksum));
      const auto read = parse_header(bytes);
      ASSERT_TRUE(read) << read.error().message();
      ASSERT_TRUE(*read);
      EXPECT_EQ((*read)->command, header.command);
      EXPECT_EQ((*read)->transport, header.transport);
      EXPECT_EQ((*read)->source, header.source);
      EXPECT_EQ((*read)->destination, header.destination);
      EXPECT_EQ((*read)->size, bytes.size());
      if (header.command == Command::kLocal) continue;
      EXPECT_EQ((*read)->tlvs.size(), header.tlvs.size() + (checksum ? 7 : 0));
      EXPECT_TRUE((*read)->tlvs.starts_with(header.tlvs));
    }
  }
}

TEST(BinaryHeader, WritesWhatOthersWrite) {
  const auto header = parse_header(kPlain);
  ASSERT_TRUE(header && *header);
  std::string again;
  ASSERT_TRUE(append_header(again, **header));
  EXPECT_EQ(again, kPlain);
}

TEST(BinaryHeader, AChecksumOfAnotherHeaderIsNotPassedOn) {
  auto header = parse_header(kChecked);
  ASSERT_TRUE(header && *header);
  (*header)->source.port = 1;
  for (const bool checksum : {false, true}) {
    std::string again;
    ASSERT_TRUE(append_header(again, **header, checksum));
    const auto read = parse_header(again);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(tlvs_of((*read)->tlvs).size(), checksum ? 2u : 1u);
    EXPECT_EQ(tlvs_of((*read)->tlvs)[0], "5:id-127.0.0.1");
  }
}

TEST(BinaryHeader, OfLocalOnlyTheLengthCounts) {
  const std::string bytes = with(kChecked, 12, "\x20\xff"sv);
  const auto header = parse_header(bytes);
  ASSERT_TRUE(header) << header.error().message();
  ASSERT_TRUE(*header);
  EXPECT_EQ((*header)->command, Command::kLocal);
  EXPECT_EQ((*header)->transport, Transport::kUnspecified);
  EXPECT_EQ((*header)->size, kChecked.size());
  EXPECT_EQ((*header)->source, Address());
}

TEST(BinaryHeader, RefusesWhatItCantBe) {
  struct Case {
    std::string bytes;
    std::string_view error;
  };
  std::string two_checksums;
  ASSERT_TRUE(append_header(two_checksums, {.transport = Transport::kTcp4}, true));
  two_checksums += two_checksums.substr(two_checksums.size() - 7);
  two_checksums[15] = static_cast<char>(two_checksums[15] + 7);
  for (const auto& [bytes, error] : {
           Case{with(kPlain, 11, "x"), "something else"},
           Case{with(kPlain, 12, "\x11"), "no version 2"},
           Case{with(kPlain, 12, "\x22"), "a command other"},
           Case{with(kPlain, 13, "\x10"), "a transport that is none"},
           Case{with(kPlain, 13, "\x13"), "a transport that is none"},
           Case{with(kPlain, 13, "\x41"), "a transport that is none"},
           Case{with(kPlain, 14, "\0\x0b"sv), "shorter than its addresses"},
           Case{with(kPlain, 13, "\x21"), "shorter than its addresses"},
           Case{with(kPlain, 13, "\x31"), "shorter than its addresses"},
           Case{with(kPlain, 14, "\xff\xff"), "65551 bytes, more than 4096"},
           Case{with(kPlain, 14, "\0\x0e"sv) + "\x04\0"s, "cut off"},
           Case{with(kPlain, 14, "\0\x0f"sv) + "\x04\0\x01"s, "longer than its header"},
           Case{with(kPlain, 14, "\0\x0f"sv) + "\x03\0\0"s, "CRC32C of another size"},
           Case{two_checksums, "more than one CRC32C"},
       }) {
    const auto header = parse_header(bytes);
    ASSERT_FALSE(header) << error;
    EXPECT_THAT(header.error().message(), HasSubstr(error));
  }
}

TEST(BinaryHeader, RefusesToWriteWhatCantBeRead) {
  std::string out = "kept";
  const std::string too_long(kUnixPathSize + 1, 'p');
  const std::string large(65'535, '\0');
  std::string tlvs;
  ASSERT_TRUE(append_tlv(tlvs, TlvType::kUniqueId, large));
  for (const Header& header : {
           Header{.transport = static_cast<Transport>(0x41)},
           Header{.transport = Transport::kUnixStream, .source = {.path = too_long}},
           Header{.transport = Transport::kUnixStream, .source = {.path = "a\0b"sv}},
           Header{.transport = Transport::kUnixStream, .source = {.path = "a\0"sv}},
           Header{.tlvs = "\x04\0"sv},
           Header{.tlvs = tlvs},
       }) {
    EXPECT_FALSE(append_header(out, header));
    EXPECT_EQ(out, "kept");
  }
  EXPECT_FALSE(append_tlv(out, TlvType::kUniqueId, large + "x"));
}

TEST(Crc32c, OfKnownTexts) {
  // RFC 3720, B.4.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c("56789", crc32c("1234")), 0xe3069283u);
}

}  // namespace
}  // namespace clonesafe::wire::proxy_protocol
