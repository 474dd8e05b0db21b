// Requests that two programs in a row read differently, so that the second finds a request that the
// first didn't see. Each has to be refused, or be the same request for everyone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <span>

#include "tests/unit/proxy_wire_http1/messages.h"

namespace clonesafe::wire::http1 {
namespace {

using std::string_view_literals::operator""sv;

struct Attack {
  std::string_view source;
  std::string_view name;
  std::string_view bytes;  // behind "POST / HTTP/1.1" and Host, where `whole` is not set
  bool whole = false;
};

constexpr std::string_view kStart = "POST / HTTP/1.1\r\nHost: a\r\n";

void expect_refused(std::span<const Attack> attacks) {
  for (const Attack& attack : attacks) {
    const std::string bytes =
        attack.whole ? std::string(attack.bytes) : std::string(kStart) + std::string(attack.bytes);
    const auto at_once = requests(bytes, bytes.size());
    EXPECT_EQ(requests(bytes, 1), at_once) << attack.name;
    ASSERT_EQ(at_once.size(), 1u) << attack.source << ": " << attack.name;
    EXPECT_THAT(at_once[0],
                testing::AnyOf(testing::StartsWith("request: "), testing::HasSubstr("| body: ")))
        << attack.source << ": " << attack.name;
    EXPECT_THAT(at_once[0], testing::Not(testing::HasSubstr("connection ended")))
        << attack.source << ": " << attack.name;
  }
}

TEST(Smuggling, TwoLengths) {
  expect_refused(std::to_array<Attack>({
      {"Watchfire 2005, HTTP Request Smuggling", "two Content-Length",
       "Content-Length: 0\r\nContent-Length: 44\r\n\r\nGET /poison HTTP/1.1\r\n"},
      {"RFC 9112, 6.3, rule 5", "two equal Content-Length",
       "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
      {"RFC 9110, 8.6", "a list of equal lengths", "Content-Length: 5, 5\r\n\r\nhello"},
      {"RFC 9112, 6.3, rule 5", "a list of lengths", "Content-Length: 5, 6\r\n\r\nhello"},
      {"PortSwigger 2019, HTTP Desync Attacks, CL.TE", "Content-Length first",
       "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"},
      {"PortSwigger 2019, HTTP Desync Attacks, TE.CL", "Transfer-Encoding first",
       "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nZ\r\nQ\r\n\r\n"},
      {"RFC 9112, 6.1", "Content-Length of nothing, and chunks",
       "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"RFC 9112, 6.1", "chunks in HTTP/1.0",
       "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
  }));
}

TEST(Smuggling, NumbersThatAreReadDifferently) {
  for (const std::string_view length : std::initializer_list<std::string_view>{
           "+5", "-5", "5.0", "0x5", "5e0", "05", "5 5", "5;", "\"5\"", "5\0"sv, "", "five", "5,",
           "9223372036854775808", "18446744073709551621", "99999999999999999999999"}) {
    const std::string field = "Content-Length: " + std::string(length) + "\r\n\r\nhello";
    const Attack attack{"numbers as strtol() and others take them", field, field};
    expect_refused({&attack, 1});
  }
}

TEST(Smuggling, TransferEncodingsThatOneOfTwoOverlooks) {
  for (const std::string_view field : std::initializer_list<std::string_view>{
           // PortSwigger 2019, HTTP Desync Attacks, the table of TE.TE.
           "Transfer-Encoding: xchunked", "Transfer-Encoding : chunked",
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
           "Transfer-Encoding:\tchunked", " Transfer-Encoding: chunked",
           "X: X\nTransfer-Encoding: chunked", "Transfer-Encoding\r\n : chunked",
           // PortSwigger's http-request-smuggler, its permutations of the field.
           "Transfer-Encoding: chunked\r\nTransfer-encoding: cow", "Transfer-Encoding:\vchunked",
           "Transfer-Encoding: chunked\v", "Transfer-Encoding: \0chunked"sv,
           "Transfer-Encoding: chunk\0ed"sv, "Transfer-Encoding: \"chunked\"",
           "Transfer-Encoding: 'chunked'", "Transfer-Encoding: chunked, identity",
           "Transfer-Encoding: identity, chunked", "Transfer-Encoding: chunked, chunked",
           "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked,",
           "Transfer-Encoding: chunked;x=y", "Transfer-Encoding:  chunked",
           "Transfer-Encoding: chunked ", "Transfer-Encoding: chunked\t",
           "Transfer-Encoding: identity",
           "Transfer-Encoding:", "Transfer-Encoding: \343\200\200chunked",
           "Transfer_Encoding: chunked", "Transfer Encoding: chunked",
           "Transfer-Encoding\x00: chunked"sv, "Transfer-Encoding\xff: chunked",
           "\rTransfer-Encoding: chunked", "X: X\rTransfer-Encoding: chunked",
           "Transfer-Encoding: \r\n chunked", "Transfer-Encoding:\r\n\tchunked",
           // CGI's names.
           "Content_Length: 5"}) {
    const std::string bytes = std::string(field) + "\r\n\r\n0\r\n\r\n";
    const Attack attack{"Transfer-Encoding", field, bytes};
    expect_refused({&attack, 1});
  }
}

TEST(Smuggling, LinesAndSpaces) {
  expect_refused(std::to_array<Attack>({
      {"RFC 9112, 2.2", "lines that end with LF", "GET / HTTP/1.1\nHost: a\n\n", true},
      {"RFC 9112, 2.2", "one line that ends with LF", "X: y\nZ: z\r\n\r\n"},
      {"RFC 9112, 2.2", "a head that ends with LF LF", "X: y\r\n\n"},
      {"RFC 9112, 2.2", "a bare CR in a value", "X: y\rContent-Length: 5\r\n\r\nhello"},
      {"RFC 9112, 2.2", "CR CR LF", "X: y\r\r\n\r\n"},
      {"RFC 9112, 5.2", "a folded line", "X: y\r\n z\r\n\r\n"},
      {"RFC 9112, 5.2", "a folded line of a tab", "X: y\r\n\tz\r\n\r\n"},
      {"RFC 9112, 2.2", "a space in front of the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
       true},
      {"RFC 9112, 5.1", "a space before the colon", "Content-Length : 5\r\n\r\nhello"},
      {"RFC 9112, 5.1", "a tab before the colon", "Content-Length\t: 5\r\n\r\nhello"},
      {"RFC 9112, 3", "two spaces in the request line", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", true},
      {"RFC 9112, 3", "a tab in the request line", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", true},
      {"RFC 9112, 3", "a space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", true},
      {"RFC 9112, 3", "a space in front of the method", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
      {"RFC 9112, 3.2", "a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", true},
      {"CVE-2020-8287 of Node.js and its kind", "a version in the target",
       "GET / HTTP/1.1\r\n / HTTP/1.1\r\nHost: a\r\n\r\n", true},
      {"RFC 9110, 5.5", "NUL in a value", "X: a\0b\r\n\r\n"sv},
      {"RFC 9110, 5.5", "NUL in a name", "X\0: a\r\n\r\n"sv},
      {"RFC 9110, 5.5", "a control character in a value", "X: a\x01\r\n\r\n"},
      {"RFC 9110, 5.5", "DEL in a value", "X: a\x7f\r\n\r\n"},
      {"spaces around a length", "two spaces in front", "Content-Length:  5\r\n\r\nhello"},
      {"spaces around a length", "a tab in front", "Content-Length:\t5\r\n\r\nhello"},
      {"spaces around a length", "a space behind", "Content-Length: 5 \r\n\r\nhello"},
  }));
}

TEST(Smuggling, Hosts) {
  expect_refused(std::to_array<Attack>({
      {"RFC 9112, 3.2", "two hosts", "Host: b\r\n\r\n"},
      {"RFC 9112, 3.2", "the same host twice", "Host: a\r\n\r\n"},
      {"RFC 9112, 3.2", "no host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", true},
      {"Chen et al. 2016, Host of Troubles", "a target of another host",
       "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", true},
      {"Chen et al. 2016, Host of Troubles", "a space before the colon",
       "GET / HTTP/1.1\r\nHost : b\r\n\r\n", true},
      {"Chen et al. 2016, Host of Troubles", "a folded host",
       "GET / HTTP/1.1\r\nX: y\r\n Host: b\r\nHost: a\r\n\r\n", true},
      {"RFC 9110, 4.2.4", "a user", "GET / HTTP/1.1\r\nHost: b@a\r\n\r\n", true},
      {"RFC 3986, 3.2", "a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", true},
      {"RFC 3986, 3.2", "a list", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", true},
      {"RFC 3986, 3.2", "two words", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", true},
      {"RFC 3986, 3.2", "a port of letters", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", true},
      {"RFC 3986, 3.2", "two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", true},
      {"RFC 3986, 3.2.2", "an open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", true},
  }));
}

TEST(Smuggling, FieldsThatTheNextOneTakesOut) {
  expect_refused(std::to_array<Attack>({
      {"Bentkowski and others on hop-by-hop abuse; RFC 9110, 7.6.1", "Content-Length",
       "Content-Length: 5\r\nConnection: close, Content-Length\r\n\r\nhello"},
      {"RFC 9110, 7.6.1", "Transfer-Encoding",
       "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"RFC 9110, 7.6.1", "Host", "Connection: host\r\n\r\n"},
  }));
}

TEST(Smuggling, Chunks) {
  for (const std::string_view body : std::initializer_list<std::string_view>{
           // Sizes.
           "10000000000000005\r\nhello\r\n0\r\n\r\n", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
           "8000000000000000\r\nhello\r\n0\r\n\r\n", "00000000000000005\r\nhello\r\n0\r\n\r\n",
           "-5\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n",
           "\r\n0\r\n\r\n", "g\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n",
           "5 \r\nhello\r\n0\r\n\r\n", "5\t\r\nhello\r\n0\r\n\r\n", "5_0\r\nhello\r\n0\r\n\r\n",
           "5,5\r\nhello\r\n0\r\n\r\n",
           // Weikop 2025, Funky Chunks: ends of lines in and around chunks, extensions to hide them
           // in.
           "5\nhello\r\n0\r\n\r\n", "5\rXhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n",
           "5\r\nhelloXX0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\r\n0\n\r\n",
           "5\r\nhello\r\n0\r\n\n", "5;\nhello\r\n0\r\n\r\n", "5;a\nxx\r\nhello\r\n0\r\n\r\n",
           "5;a\rxx\r\nhello\r\n0\r\n\r\n", "0\r\n\rX\r\n\r\n",
           // Extensions as RFC 9112, 7.1.1 has no use for.
           "5;\r\nhello\r\n0\r\n\r\n", "5 ;a\r\nhello\r\n0\r\n\r\n", "5; a\r\nhello\r\n0\r\n\r\n",
           "5;a=\r\nhello\r\n0\r\n\r\n", "5;a=\"b\r\nhello\r\n0\r\n\r\n",
           "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", "5;a\0\r\nhello\r\n0\r\n\r\n"sv,
           "5;=b\r\nhello\r\n0\r\n\r\n", "5;a=\"\x01\"\r\nhello\r\n0\r\n\r\n",
           // Trailers.
           "0\r\nContent-Length: 5\r\n\r\n", "0\r\ntransfer-encoding: chunked\r\n\r\n",
           "0\r\nHost: b\r\n\r\n", "0\r\nContent_Length: 5\r\n\r\n", "0\r\nX : y\r\n\r\n",
           "0\r\n X: y\r\n\r\n", "0\r\nX: y\nZ: z\r\n\r\n", "0\r\nX\r\n\r\n",
           "0\r\nX: \0\r\n\r\n"sv, "0\r\nGET / HTTP/1.1\r\n\r\n"}) {
    const std::string bytes = "Transfer-Encoding: chunked\r\n\r\n" + std::string(body);
    const Attack attack{"chunks", body, bytes};
    expect_refused({&attack, 1});
  }
}

TEST(Smuggling, WhatIsNoAttackIsReadAsItIs) {
  for (const std::string_view bytes :
       {"Content-Length:5\r\n\r\nhello", "content-length: 5\r\n\r\nhello",
        "X-Transfer-Encoding: chunked\r\n\r\n", "TRANSFER-ENCODING:CHUNKED\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5;a;b=c;d=\"e;\\\"f\"\r\nhello\r\n0;x\r\nX: y\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0000000000000005\r\nhello\r\n000\r\n\r\n"}) {
    const std::string request = std::string(kStart) + std::string(bytes);
    const std::string twice = request + request;
    EXPECT_EQ(requests(twice, twice.size()).size(), 2u) << bytes;
    EXPECT_EQ(requests(twice, 1), requests(twice, twice.size())) << bytes;
    EXPECT_THAT(requests(twice, 1)[1], testing::EndsWith("bytes")) << bytes;
  }
}

}  // namespace
}  // namespace clonesafe::wire::http1
