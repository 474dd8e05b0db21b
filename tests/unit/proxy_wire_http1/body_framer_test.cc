#include "proxy/wire/http1/body_framer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/proxy_wire_http1/messages.h"

namespace clonesafe::wire::http1 {
namespace {

using enum Body::Kind;
using testing::HasSubstr;

std::string body_in_any_pieces(std::string_view bytes, const Body& body, BodyLimits limits = {}) {
  const auto read = [&](std::size_t piece) {
    Pieces pieces(bytes, piece);
    std::string line;
    read_body(pieces, body, limits, line);
    return line;
  };
  auto at_once = read(bytes.size());
  for (const std::size_t piece : {1u, 2u, 3u, 5u, 7u, 11u}) EXPECT_EQ(read(piece), at_once);
  return at_once;
}

TEST(BodyFramer, EndsWhereTheMessageDoes) {
  EXPECT_EQ(body_in_any_pieces("next", {}), " | 0 bytes");
  EXPECT_EQ(body_in_any_pieces("hellonext", {kLength, 5}), " | 5 bytes");
  EXPECT_EQ(body_in_any_pieces("hello", {kUntilClose}), " | 5 bytes to the end");
  EXPECT_EQ(body_in_any_pieces("hello", {kTunnel}), " | 5 bytes to the end");
  EXPECT_EQ(body_in_any_pieces("1\r\na\r\n0\r\n\r\nnext", {kChunked}), " | 11 bytes");
  EXPECT_EQ(body_in_any_pieces("0\r\nX: y\r\nZ:\r\n\r\nnext", {kChunked}), " | 15 bytes");
}

TEST(BodyFramer, AnEndTooEarlyIsAnError) {
  EXPECT_THAT(body_in_any_pieces("hel", {kLength, 5}), HasSubstr("ended after 3 of 5 bytes"));
  EXPECT_THAT(body_in_any_pieces("", {kLength, 5}), HasSubstr("ended after 0 of 5 bytes"));
  for (const std::string_view cut : {"", "5", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n",
                                     "5\r\nhello\r\n0\r\n", "0\r\nX: y\r\n"})
    EXPECT_THAT(body_in_any_pieces(cut, {kChunked}), HasSubstr("the connection ended")) << cut;
}

TEST(BodyFramer, PassesContentThroughAndCountsIt) {
  BodyFramer framer({kChunked});
  EXPECT_EQ(framer.next("100000\r\nabc")->size, 11u);
  const std::string chunk(0xffffd, 'x');
  EXPECT_EQ(framer.next(chunk)->size, chunk.size());
  EXPECT_EQ(framer.content_size(), 0x100000u);
  const auto part = framer.next("\r\n2\r\nab\r\n0\r\n\r\nGET");
  EXPECT_EQ(part->size, 14u);
  EXPECT_TRUE(part->last);
  EXPECT_TRUE(framer.ended());
  EXPECT_EQ(framer.content_size(), 0x100002u);
  EXPECT_EQ(framer.next("GET")->size, 0u);
  EXPECT_TRUE(framer.finish());
}

TEST(BodyFramer, LimitsAreOfTheConfiguration) {
  const BodyLimits limits{
      .chunk_line = 8, .chunk_overhead = 32, .trailers = 12, .trailer_fields = 2};
  EXPECT_EQ(body_in_any_pieces("1;abcde\r\nx\r\n0\r\n\r\n", {kChunked}, limits), " | 17 bytes");
  EXPECT_THAT(body_in_any_pieces("1;abcdef\r\nx\r\n0\r\n\r\n", {kChunked}, limits),
              HasSubstr("over its limit"));
  EXPECT_EQ(body_in_any_pieces("0\r\na: b\r\nc:d\r\n\r\n", {kChunked}, limits), " | 16 bytes");
  EXPECT_THAT(body_in_any_pieces("0\r\na: bb\r\nc: d\r\n\r\n", {kChunked}, limits),
              HasSubstr("trailers over their limit"));
  EXPECT_THAT(body_in_any_pieces("0\r\na:\r\nb:\r\nc:\r\n\r\n", {kChunked}, limits),
              HasSubstr("trailers over their limit"));
  EXPECT_THAT(body_in_any_pieces("0\r\n" + std::string(13, 'a'), {kChunked}, limits),
              HasSubstr("trailers over their limit"));
}

TEST(BodyFramer, SmallChunksWithLongExtensionsEnd) {
  std::string body;
  for (int chunk = 0; chunk < 100; ++chunk) body += "1;" + std::string(1000, 'a') + "\r\nx\r\n";
  EXPECT_THAT(body_in_any_pieces(body, {kChunked}), HasSubstr("more about chunks than in them"));
  // As uploads to object stores are signed: for as long as one likes.
  body.clear();
  for (int chunk = 0; chunk < 1000; ++chunk)
    body +=
        "400;chunk-signature=" + std::string(64, 'a') + "\r\n" + std::string(0x400, 'x') + "\r\n";
  body += "0\r\n\r\n";
  EXPECT_EQ(body_in_any_pieces(body, {kChunked}), " | " + std::to_string(body.size()) + " bytes");
}

TEST(BodyFramer, AfterAnErrorThereAreOnlyErrors) {
  BodyFramer framer({kChunked});
  ASSERT_FALSE(framer.next("x\r\n"));
  EXPECT_FALSE(framer.next("0\r\n\r\n"));
  EXPECT_FALSE(framer.finish());
}

}  // namespace
}  // namespace clonesafe::wire::http1
