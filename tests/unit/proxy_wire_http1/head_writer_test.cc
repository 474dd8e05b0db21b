#include "proxy/wire/http1/head_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/http1/error_response.h"
#include "proxy/wire/http1/head_reader.h"
#include "tests/unit/proxy_wire_http1/messages.h"

namespace clonesafe::wire::http1 {
namespace {

constexpr std::string_view kRequest =
    "GET http://a/x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, upgrade\r\nx-hop: 1\r\n"
    "Keep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: websocket\r\nProxy-Connection: close\r\n"
    "X-End:\t2 \r\nTransfer-Encoding: chunked\r\n\r\n";

std::string rewritten(std::string_view bytes, const HeadEdit& edit) {
  HeadReader reader;
  const auto head = reader.read_request(bytes);
  if (!head || *head == nullptr) return "no head";
  std::string out = "kept";
  const auto written = append_request_head(out, **head, edit);
  if (!written) return out == "kept" ? written.error().message() : "changed";
  return out.substr(4);
}

TEST(HeadWriter, LeavesOutWhatIsForThisConnection) {
  EXPECT_EQ(rewritten(kRequest, {}),
            "GET http://a/x HTTP/1.1\r\nHost: a\r\nX-End: 2\r\nTransfer-Encoding: chunked\r\n\r\n");
}

TEST(HeadWriter, KeepsAnUpgradeThatIsWanted) {
  EXPECT_EQ(rewritten(kRequest, {.keep_upgrade = true}),
            "GET http://a/x HTTP/1.1\r\nHost: a\r\nX-End: 2\r\nTransfer-Encoding: chunked\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  EXPECT_EQ(rewritten("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                      "Upgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
                      {.keep_upgrade = true}),
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

TEST(HeadWriter, DropsAddsAndReplaces) {
  const std::string_view drop[] = {"HOST", "x-end"};
  const Field add[] = {{"Host", "b:80"}, {"X-Forwarded-For", "1.2.3.4"}};
  EXPECT_EQ(rewritten(kRequest, {.drop = drop, .add = add, .target = "/x"}),
            "GET /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: b:80\r\n"
            "X-Forwarded-For: 1.2.3.4\r\n\r\n");
  EXPECT_EQ(rewritten(kRequest, {.drop_hop_by_hop = false}),
            "GET http://a/x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, upgrade\r\n"
            "x-hop: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: websocket\r\n"
            "Proxy-Connection: close\r\nX-End: 2\r\nTransfer-Encoding: chunked\r\n\r\n");
}

TEST(HeadWriter, RefusesWhatWouldBeReadDifferently) {
  const auto refused_field = [](const Field& field) {
    return rewritten(kRequest, {.add = {&field, 1}});
  };
  EXPECT_THAT(refused_field({"X", "a\r\nY: b"}), testing::HasSubstr("can't stand in a head"));
  EXPECT_THAT(refused_field({"X", "a\n"}), testing::HasSubstr("can't stand in a head"));
  EXPECT_THAT(refused_field({"X", " a"}), testing::HasSubstr("can't stand in a head"));
  EXPECT_THAT(refused_field({"X Y", "a"}), testing::HasSubstr("no token"));
  EXPECT_THAT(refused_field({"", "a"}), testing::HasSubstr("no token"));
  EXPECT_THAT(refused_field({"content-length", "5"}), testing::HasSubstr("can't be added"));
  EXPECT_THAT(refused_field({"Transfer-Encoding", "chunked"}),
              testing::HasSubstr("can't be added"));
  EXPECT_THAT(refused_field({"Host", "b"}), testing::HasSubstr("can't be added"));
  const std::string_view length[] = {"content-Length"};
  EXPECT_THAT(rewritten(kRequest, {.drop = length}), testing::HasSubstr("can't be left out"));
  EXPECT_THAT(rewritten(kRequest, {.target = "/ HTTP/1.1\r\nX: y"}), testing::HasSubstr("target"));
}

TEST(HeadWriter, WritesResponses) {
  HeadReader reader;
  const auto head = reader.read_response(
      "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 6\r\nServer: x\r\n\r\n", {});
  ASSERT_TRUE(head) << head.error().message();
  std::string out;
  const std::string_view drop[] = {"Server"};
  const Field add[] = {{"Connection", "close"}};
  ASSERT_TRUE(append_response_head(out, **head, {.drop = drop, .add = add}));
  EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n");
}

TEST(ErrorResponse, IsAWholeLastResponse) {
  for (const std::uint16_t status :
       std::initializer_list<std::uint16_t>{400, 408, 413, 431, 501, 502, 503, 504, 505}) {
    std::string out;
    append_error_response(out, {.status = status});
    const auto seen = responses(out, out.size());
    ASSERT_EQ(seen.size(), 1u) << out;
    EXPECT_THAT(seen[0], testing::StartsWith(std::to_string(status) + " ")) << out;
    EXPECT_THAT(seen[0], testing::HasSubstr(", last [Content-Type=text/plain]")) << out;
    EXPECT_THAT(seen[0], testing::Not(testing::HasSubstr("the end"))) << out;
  }
}

TEST(ErrorResponse, SaysWhenToComeBackAndHasNoContentForHead) {
  std::string out;
  append_error_response(out, {.status = 503, .method = Method::kHead, .retry_after = 7});
  EXPECT_EQ(out,
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n"
            "Retry-After: 7\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
  out.clear();
  append_error_response(out, {.status = 5, .method = Method::kGet});
  EXPECT_THAT(out, testing::StartsWith("HTTP/1.1 502 Bad Gateway\r\n"));
  EXPECT_THAT(out, testing::EndsWith("\r\n\r\n502 Bad Gateway\n"));
}

}  // namespace
}  // namespace clonesafe::wire::http1
