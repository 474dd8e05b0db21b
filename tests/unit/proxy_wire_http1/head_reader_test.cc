#include "proxy/wire/http1/head_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/proxy_wire_http1/messages.h"

namespace clonesafe::wire::http1 {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t kPieces[] = {1, 2, 3, 5, 7, 11, 64};

std::vector<std::string> requests_in_any_pieces(std::string_view bytes, HeadLimits limits = {}) {
  auto at_once = requests(bytes, bytes.size(), limits);
  for (const std::size_t piece : kPieces) EXPECT_EQ(requests(bytes, piece, limits), at_once);
  return at_once;
}

std::vector<std::string> responses_in_any_pieces(std::string_view bytes,
                                                 RequestContext context = {}) {
  auto at_once = responses(bytes, bytes.size(), context);
  for (const std::size_t piece : kPieces) EXPECT_EQ(responses(bytes, piece, context), at_once);
  return at_once;
}

// What curl 7.88.1 sent.
constexpr std::string_view kGetRequest =
    "GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:17401\r\nUser-Agent: curl/7.88.1\r\nAccept: "
    "*/*\r\n\r\n";
constexpr std::string_view kPutRequest =
    "PUT /up HTTP/1.1\r\nHost: 127.0.0.1:17402\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
    "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
constexpr std::string_view kToProxy =
    "GET http://example.org/x HTTP/1.1\r\nHost: example.org\r\nUser-Agent: curl/7.88.1\r\n"
    "Accept: */*\r\nProxy-Connection: Keep-Alive\r\n\r\n";
constexpr std::string_view kH2c =
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:17405\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";

// What nginx 1.22.1 sent.
constexpr std::string_view kFileResponse =
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 10:26:52 GMT\r\n"
    "Content-Type: text/plain\r\nContent-Length: 6\r\n"
    "Last-Modified: Fri, 27 Nov 2026 10:26:52 GMT\r\nConnection: keep-alive\r\n"
    "ETag: \"6b095aec-6\"\r\nAccept-Ranges: bytes\r\n\r\nhello\n";
constexpr std::string_view kChunkedResponse =
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 10:26:53 GMT\r\n"
    "Content-Type: text/html\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
    "b\r\n/a.shtmlok\n\r\n0\r\n\r\n";
constexpr std::string_view kUntilCloseResponse =
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 10:26:54 GMT\r\n"
    "Content-Type: text/html\r\nConnection: close\r\n\r\n/a.shtmlok\n";

TEST(HeadReader, ReadsRecordedRequests) {
  const std::string bytes = std::string(kGetRequest) + std::string(kToProxy) +
                            std::string(kPutRequest) + "5\r\nhello\r\n0\r\n\r\n" +
                            std::string(kGetRequest);
  EXPECT_THAT(
      requests_in_any_pieces(bytes),
      ElementsAre(
          "GET /a?b=c to 127.0.0.1:17401 [Host=127.0.0.1:17401] [User-Agent=curl/7.88.1] "
          "[Accept=*/*] | 0 bytes",
          StartsWith("GET http://example.org/x to example.org [Host=example.org]"),
          testing::AllOf(StartsWith("PUT /up to 127.0.0.1:17402"), testing::EndsWith("| 15 bytes")),
          StartsWith("GET /a?b=c to 127.0.0.1:17401")));
}

TEST(HeadReader, SaysWhatTheProxyNeedsToKnow) {
  HeadReader reader;
  auto head = reader.read_request(kPutRequest);
  ASSERT_TRUE(head) << head.error().message();
  EXPECT_EQ((*head)->method, Method::kPut);
  EXPECT_EQ((*head)->size, kPutRequest.size());
  EXPECT_EQ((*head)->body, Body{.kind = Body::Kind::kChunked});
  EXPECT_TRUE((*head)->expects_continue);
  EXPECT_TRUE((*head)->persistent);
  EXPECT_FALSE((*head)->offers_h2c);
  ASSERT_NE((*head)->find("ACCEPT"), nullptr);
  EXPECT_EQ((*head)->find("ACCEPT")->value, "*/*");
  EXPECT_EQ((*head)->find("Accep"), nullptr);

  head = reader.read_request(kToProxy);
  ASSERT_TRUE(head) << head.error().message();
  EXPECT_EQ((*head)->form, TargetForm::kAbsolute);

  head = reader.read_request(kH2c);
  ASSERT_TRUE(head) << head.error().message();
  EXPECT_TRUE((*head)->offers_h2c);
  EXPECT_EQ((*head)->upgrade, "h2c");

  head = reader.read_request("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
  ASSERT_TRUE(head) << head.error().message();
  EXPECT_FALSE((*head)->expects_continue) << "HTTP/1.0 has no such thing";
}

TEST(HeadReader, OtherFormsOfRequests) {
  for (const std::string_view bytes :
       {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nhOST:a.b:80  \r\nX-Empty:\r\nX:\t\xc3\xa4\r\n\r\n",
        "SEARCH HTTPS://a?q HTTP/1.1\r\nHost: A\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"}) {
    const auto seen = requests_in_any_pieces(bytes);
    ASSERT_EQ(seen.size(), 1u) << bytes;
    EXPECT_THAT(seen[0], testing::EndsWith("bytes")) << bytes;
  }
}

TEST(HeadReader, WhetherAConnectionGoesOn) {
  for (const auto& [bytes, persistent] : {
           std::pair("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
           std::pair("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false),
           std::pair("GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n",
                     false),
           std::pair("GET / HTTP/1.0\r\n\r\n", false),
           std::pair("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
           std::pair("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
       }) {
    HeadReader reader;
    const auto head = reader.read_request(bytes);
    ASSERT_TRUE(head && *head != nullptr) << bytes;
    EXPECT_EQ((*head)->persistent, persistent) << bytes;
  }
}

TEST(HeadReader, ReadsRecordedResponses) {
  const std::string bytes = std::string(kFileResponse) + std::string(kChunkedResponse) +
                            std::string(kUntilCloseResponse) + "and more";
  EXPECT_THAT(responses_in_any_pieces(bytes),
              ElementsAre(testing::AllOf(StartsWith("200 OK [Server"),
                                         testing::EndsWith("[Accept-Ranges=bytes] | 6 bytes")),
                          testing::EndsWith("| 21 bytes"),
                          testing::AllOf(StartsWith("200 OK, last"),
                                         testing::EndsWith("| 19 bytes to the end"))));
}

TEST(HeadReader, WhereAResponseEndsDependsOnItsRequest) {
  using enum Body::Kind;
  struct Case {
    std::string_view bytes;
    RequestContext request;
    Body body;
  };
  const RequestContext head{.method = Method::kHead};
  const RequestContext connect{.method = Method::kConnect};
  const RequestContext upgrade{.offered_upgrade = true};
  for (const auto& [bytes, request, body] : {
           Case{"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", {}, {kLength, 6}},
           Case{"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", head, {}},
           Case{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", head, {}},
           Case{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {}, {}},
           Case{"HTTP/1.1 200 OK\r\n\r\n", {}, {kUntilClose}},
           Case{"HTTP/1.0 200 OK\r\n\r\n", {}, {kUntilClose}},
           Case{"HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\n\r\n", {}, {kChunked}},
           Case{"HTTP/1.1 100 Continue\r\n\r\n", {}, {}},
           Case{"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", {}, {}},
           Case{"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", {}, {}},
           Case{"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n", {}, {}},
           Case{"HTTP/1.1 200 Connection established\r\n\r\n", connect, {kTunnel}},
           Case{"HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\n", connect, {kLength, 1}},
           Case{"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket"
                "\r\n\r\n",
                upgrade,
                {kTunnel}},
           Case{"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                upgrade,
                {kUntilClose}},
       }) {
    HeadReader reader;
    const auto response = reader.read_response(bytes, request);
    ASSERT_TRUE(response) << bytes << response.error().message();
    ASSERT_NE(*response, nullptr) << bytes;
    EXPECT_EQ((*response)->body, body) << bytes;
    EXPECT_EQ((*response)->interim(), bytes.contains(" 10") && !bytes.contains("101")) << bytes;
  }
}

TEST(HeadReader, RefusesRequestsByStatus) {
  struct Case {
    std::string_view bytes;
    std::uint16_t status;
    std::string_view error;
  };
  for (const auto& [bytes, status, error] : {
           Case{"PRI * HTTP/2.0\r\n\r\n", 505, "HTTP/2, which is not supported"},
           Case{"GET / HTTP/1.2\r\n\r\n", 505, "a version other than"},
           Case{"GET / HTTP/0.9\r\n\r\n", 505, "a version other than"},
           Case{"GET /\r\n\r\n", 400, "less than three words, line 1"},
           Case{"GET / http/1.1\r\n\r\n", 400, "no version of HTTP"},
           Case{"GET / HTTP/1.1\r\n\r\n", 400, "no Host"},
           Case{"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501,
                "a Transfer-Encoding other than chunked, line 3"},
           Case{"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "fragment"},
           Case{"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "neither a path nor"},
           Case{"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "neither a path nor"},
           Case{"GET http:///x HTTP/1.1\r\nHost:\r\n\r\n", 400, "neither a path nor"},
           Case{"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "neither a path nor"},
           Case{"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "neither a path nor"},
           Case{"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "in the target"},
           Case{"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "CONNECT"},
           Case{"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "CONNECT"},
           Case{"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", 400, "CONNECT"},
           Case{"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "method"},
           Case{"GET / HTTP/1.1\r\nHost: a\r\nx\r\n\r\n", 400, "without a colon, line 3"},
           Case{"GET / HTTP/1.1\r\nHost: a\r\n x: y\r\n\r\n", 400,
                "a line that begins with a space, line 3"},
           Case{"GET / HTTP/1.1\r\nHost: a\r\nx : y\r\n\r\n", 400, "a space before the colon"},
           Case{"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400, "no token"},
           Case{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n", 400, "Upgrade"},
           Case{"GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n", 400, "list of names"},
           Case{"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "an empty line in front"},
       }) {
    requests_in_any_pieces(bytes);
    HeadReader reader;
    const auto head = reader.read_request(bytes);
    ASSERT_FALSE(head) << bytes;
    EXPECT_EQ(reader.refusal_status(), status) << bytes;
    EXPECT_THAT(head.error().message(), HasSubstr(error)) << bytes;
    EXPECT_THAT(head.error().message(), StartsWith("request: "));
    const auto again = reader.read_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_FALSE(again) << "after an error there are only errors";
  }
}

TEST(HeadReader, RefusesWhatIsNoResponse) {
  for (const std::string_view bytes :
       {"HTTP/1.1 200\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 600 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 100 Go\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"}) {
    const auto seen = responses_in_any_pieces(bytes);
    ASSERT_EQ(seen.size(), 1u) << bytes;
    EXPECT_THAT(seen[0], StartsWith("response: ")) << bytes;
  }
  HeadReader reader;
  EXPECT_FALSE(reader.read_response("HTTP/1.1 101 Switching\r\n\r\n", {.offered_upgrade = true}));
}

TEST(HeadReader, LimitsAreOfTheConfiguration) {
  const std::string_view request = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
  EXPECT_THAT(requests_in_any_pieces(request, {.size = request.size(), .fields = 2}),
              ElementsAre(testing::EndsWith("| 0 bytes")));
  EXPECT_THAT(requests_in_any_pieces(request, {.size = request.size() - 1}),
              ElementsAre(HasSubstr("more bytes than its limit")));
  EXPECT_THAT(requests_in_any_pieces(request, {.fields = 1}),
              ElementsAre(HasSubstr("more fields than the limit")));
  HeadReader reader({.size = 64});
  EXPECT_FALSE(reader.read_request("GET /" + std::string(64, 'x')));
  EXPECT_EQ(reader.refusal_status(), 431);
}

TEST(Method, WhatMayBeSentAgain) {
  EXPECT_EQ(find_method("GET"), Method::kGet);
  EXPECT_EQ(find_method("get"), Method::kOther);
  EXPECT_EQ(find_method("PROPFIND"), Method::kOther);
  for (const Method method : {Method::kGet, Method::kHead, Method::kOptions, Method::kTrace})
    EXPECT_TRUE(is_safe(method) && is_idempotent(method));
  for (const Method method : {Method::kPut, Method::kDelete})
    EXPECT_TRUE(!is_safe(method) && is_idempotent(method));
  for (const Method method : {Method::kPost, Method::kPatch, Method::kConnect, Method::kOther})
    EXPECT_FALSE(is_safe(method) || is_idempotent(method));
}

}  // namespace
}  // namespace clonesafe::wire::http1
