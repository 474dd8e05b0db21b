#include "proxy/wire/resp/reply_framer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/resp/value_reader.h"
#include "tests/unit/proxy_wire_resp/framing.h"

namespace clonesafe::wire::resp {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> replies_in_any_pieces(std::string_view bytes,
                                               Handling handling = Handling::kPassOn,
                                               bool subscribed = false, ReplyLimits limits = {}) {
  auto at_once = replies(bytes, bytes.size(), handling, subscribed, limits);
  for (const std::size_t piece : {1u, 2u, 3u, 5u, 7u, 11u})
    EXPECT_EQ(replies(bytes, piece, handling, subscribed, limits), at_once)
        << "in pieces of " << piece;
  return at_once;
}

// What redis-server 7.0.15 sent.
constexpr std::string_view kHello =
    "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n"
    "$2\r\nid\r\n:27\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
    "$7\r\nmodules\r\n*0\r\n";
constexpr std::string_view kScores = "*2\r\n*2\r\n$1\r\nm\r\n,1.5\r\n*2\r\n$1\r\nn\r\n,inf\r\n";
constexpr std::string_view kNested = "*3\r\n*2\r\n:1\r\n*2\r\n:2\r\n*1\r\n:3\r\n$1\r\nx\r\n_\r\n";
constexpr std::string_view kSubscribed = ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
constexpr std::string_view kUnsubscribed = ">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n";

TEST(ReplyFramer, FindsRepliesInRecordedBytes) {
  const std::string bytes = std::string(kHello) + std::string(kSubscribed) + "+PONG\r\n" +
                            std::string(kUnsubscribed) + std::string(kScores) + ":1\r\n_\r\n" +
                            std::string(kNested) + "-ERR no such command\r\n";
  EXPECT_THAT(
      replies_in_any_pieces(bytes),
      ElementsAre("% " + std::string(kHello), ">push6 " + std::string(kSubscribed), "+ +PONG\r\n",
                  ">push9 " + std::string(kUnsubscribed), "* " + std::string(kScores), ": :1\r\n",
                  "_ _\r\n", "* " + std::string(kNested), "- -ERR no such command\r\n"));
}

TEST(ReplyFramer, KnowsEveryType) {
  for (const std::string_view value : {"+OK\r\n",
                                       "+\r\n",
                                       "-ERR x\r\n",
                                       ":0\r\n",
                                       ":-9223372036854775808\r\n",
                                       ":+5\r\n",
                                       "$0\r\n\r\n",
                                       "$5\r\na\r\nb\n\r\n",
                                       "$-1\r\n",
                                       "*0\r\n",
                                       "*-1\r\n",
                                       "*2\r\n$-1\r\n*-1\r\n",
                                       "_\r\n",
                                       "(123  123\r\n",
                                       "#t\r\n",
                                       "#f\r\n",
                                       ",1.23\r\n",
                                       ",+1\r\n",
                                       ",-1e-5\r\n",
                                       ",1E999\r\n",
                                       ",inf\r\n",
                                       ",-inf\r\n",
                                       ",nan\r\n",
                                       "(3492890328409238509324850943850943825024385\r\n",
                                       "(-1\r\n",
                                       "!21\r\nSYNTAX invalid syntax\r\n",
                                       "=15\r\ntxt:Some string\r\n",
                                       "%0\r\n",
                                       "%1\r\n+a\r\n*1\r\n:1\r\n",
                                       "~2\r\n+a\r\n+b\r\n",
                                       ">0\r\n",
                                       "*1\r\n|1\r\n+k\r\n+v\r\n:1\r\n"}) {
    const std::string bytes = std::string(value) + "+next\r\n";
    for (const Handling handling : {Handling::kPassOn, Handling::kWhole}) {
      const auto seen = replies_in_any_pieces(bytes, handling);
      ASSERT_EQ(seen.size(), 2u) << value << seen[0];
      EXPECT_THAT(seen[0], testing::EndsWith(" " + std::string(value)));
      EXPECT_EQ(seen[0][0], value[0]);
    }
  }
}

TEST(ReplyFramer, AttributesBelongToTheReplyBehindThem) {
  const std::string_view bytes =
      "|1\r\n+key-popularity\r\n%1\r\n$1\r\na\r\n,0.19\r\n|0\r\n:7\r\n:8\r\n";
  const auto seen = replies_in_any_pieces(bytes);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0][0], ':');
  EXPECT_EQ(seen[1], ": :8\r\n");
  EXPECT_THAT(replies_in_any_pieces("|1\r\n$30\r\n" + std::string(30, 'x') + "\r\n+v\r\n:1\r\n",
                                    Handling::kPassOn, false, {.whole = 20}),
              Contains(HasSubstr("more than 20 bytes")));
}

TEST(ReplyFramer, TellsPushesApart) {
  EXPECT_THAT(
      replies_in_any_pieces(
          ">3\r\n+message\r\n+c\r\n+x\r\n>3\r\n$7\r\nmessage\r\n+c\r\n+x\r\n"
          ">2\r\n$10\r\ninvalidate\r\n*1\r\n+k\r\n>1\r\n:1\r\n>1\r\n$3\r\nfoo\r\n"
          ">1\r\n$13\r\nxxxxxxxxxxxxx\r\n>2\r\n|1\r\n+subscribe\r\n+b\r\n+smessage\r\n+\r\n"),
      ElementsAre(testing::StartsWith(">push3 "), testing::StartsWith(">push3 "),
                  testing::StartsWith(">push2 "), testing::StartsWith(">push1 "),
                  testing::StartsWith(">push1 "), testing::StartsWith(">push1 "),
                  testing::StartsWith(">push5 ")));
}

TEST(ReplyFramer, Resp2ArraysArePushesOnlyToWhoSubscribed) {
  // What redis-server 7.0.15 sent for SUBSCRIBE a; PING; PING x; UNSUBSCRIBE.
  const std::string_view bytes =
      "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n"
      "*2\r\n$4\r\npong\r\n$1\r\nx\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n*0\r\n*-1\r\n";
  EXPECT_THAT(replies_in_any_pieces(bytes, Handling::kPassOn, true),
              ElementsAre(testing::StartsWith("*push6 "), testing::StartsWith("* "),
                          testing::StartsWith("* "), testing::StartsWith("*push9 "), "* *0\r\n",
                          "* *-1\r\n"));
  EXPECT_THAT(replies_in_any_pieces(bytes), testing::Each(testing::StartsWith("* ")));
}

TEST(ReplyFramer, ALongStringPassesThroughWithoutBeingKept) {
  ReplyFramer framer;
  auto part = framer.next("$500000000\r\nabc");
  ASSERT_TRUE(part) << part.error().message();
  EXPECT_EQ(part->size, 15u);
  EXPECT_TRUE(part->first);
  EXPECT_FALSE(part->last);
  const std::string chunk(499'999, 'x');
  std::uint64_t left = 499'999'997;
  while (left > chunk.size()) {
    part = framer.next(chunk);
    ASSERT_EQ(part->size, chunk.size());
    ASSERT_FALSE(part->first || part->last);
    left -= chunk.size();
  }
  EXPECT_EQ(framer.next(chunk.substr(0, left))->size, left);
  part = framer.next("\r\n:1\r\n");
  EXPECT_EQ(part->size, 2u);
  EXPECT_TRUE(part->last);
}

TEST(ReplyFramer, MessagesPassThroughAndConfirmationsAreWhole) {
  ReplyFramer framer;
  const std::string_view message = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$100\r\nabc";
  EXPECT_EQ(framer.next(message)->size, message.size());
  ReplyFramer other;
  for (std::size_t size = 0; size < kSubscribed.size(); ++size)
    ASSERT_EQ(other.next(kSubscribed.substr(0, size))->size, 0u) << size;
  EXPECT_TRUE(other.next(kSubscribed)->whole());
}

// As a script gives them that puts a table into itself.
TEST(ReplyFramer, TakesDeepReplies) {
  std::string deep;
  for (std::size_t depth = 0; depth < ReplyFramer::kMaxDepth; ++depth) deep += "*1\r\n";
  deep += "+OK\r\n";
  EXPECT_THAT(replies(deep, deep.size(), Handling::kPassOn, false, {}), ElementsAre("* " + deep));
}

TEST(ReplyFramer, RefusesWhatIsNoReply) {
  struct Case {
    std::string_view bytes;
    std::string_view error;
  };
  std::string deep;
  for (std::size_t depth = 0; depth <= ReplyFramer::kMaxDepth; ++depth) deep += "*1\r\n";
  for (const auto& [bytes, error] : {
           Case{"$?\r\n;4\r\n", "a streamed string, which is not supported at byte 0"},
           Case{"*?\r\n", "a streamed aggregate"},
           Case{"%?\r\n", "a streamed aggregate"},
           Case{"~?\r\n", "a streamed aggregate"},
           Case{">?\r\n", "a streamed aggregate"},
           Case{";4\r\n", "a part of a streamed value"},
           Case{".\r\n", "a part of a streamed"},
           Case{"HTTP/1.1 400 Bad Request\r\n", "unknown type"},
           Case{"\r\n", "without a type"},
           Case{":\r\n", "invalid integer"},
           Case{":1x\r\n", "invalid integer"},
           Case{":+-1\r\n", "invalid integer"},
           Case{":9223372036854775808\r\n", "invalid integer"},
           Case{"_x\r\n", "invalid null"},
           Case{"#x\r\n", "invalid boolean"},
           Case{"#\r\n", "invalid boolean"},
           Case{",\r\n", "invalid double"},
           Case{",1x\r\n", "invalid double"},
           Case{",0x10\r\n", "invalid double"},
           Case{",infinity\r\n", "invalid double"},
           Case{"$-2\r\n", "invalid bulk length"},
           Case{"$01\r\n", "invalid bulk length"},
           Case{"$ 1\r\n", "invalid bulk length"},
           Case{"!-1\r\n", "invalid bulk length"},
           Case{"=3\r\ntxt\r\n", "without a format"},
           Case{"%-1\r\n", "invalid multibulk length"},
           Case{"%9223372036854775807\r\n", "invalid multibulk length"},
           Case{"*99999999999\r\n", "more than 4294967296 elements"},
           Case{"$536870913\r\n", "more than 536870912 bytes"},
           Case{"$1\r\nabc", "longer than its length at byte 5"},
           Case{"+a\nb\r\n", "line feed without"},
           Case{"+a\rb\r\n", "carriage return without"},
           Case{"*1\r\n>1\r\n", "a push within a reply at byte 4"},
           Case{deep, "more than 8192 deep"},
       }) {
    const auto seen = replies_in_any_pieces(bytes);
    ASSERT_EQ(seen.size(), 1u) << bytes;
    EXPECT_THAT(seen[0], HasSubstr(error)) << bytes;
  }
}

TEST(ReplyFramer, LimitsAreOfTheConfiguration) {
  const ReplyLimits limits{.bulk = 4, .elements = 2, .line = 5, .whole = 20};
  const auto with = [&](std::string_view bytes, Handling handling = Handling::kPassOn) {
    return replies_in_any_pieces(bytes, handling, false, limits);
  };
  EXPECT_THAT(with("+1234\r\n"), ElementsAre("+ +1234\r\n"));
  EXPECT_THAT(with("+12345"), ElementsAre(HasSubstr("a line is too long")));
  EXPECT_THAT(with("$5\r\n"), ElementsAre(HasSubstr("more than 4 bytes")));
  EXPECT_THAT(with("*3\r\n"), ElementsAre(HasSubstr("more than 2 elements")));
  EXPECT_THAT(with("*2\r\n:1\r\n$4\r\n1234\r\n", Handling::kWhole).size(), 1u);
  const std::string_view longer = "*2\r\n:12\r\n$4\r\n1234\r\n";
  EXPECT_EQ(longer.size(), 19u);
  EXPECT_THAT(with("*2\r\n:123\r\n$4\r\n1234\r\n", Handling::kWhole)[0], HasSubstr("123"));
  EXPECT_THAT(with("*2\r\n:1234\r\n$4\r\n1234\r\n", Handling::kWhole),
              ElementsAre(HasSubstr("more than 20 bytes to hand out whole")));
  EXPECT_EQ(with("*2\r\n:1234\r\n$4\r\n1234\r\n").size(), 1u);
}

TEST(ReplyFramer, AfterAnErrorThereAreOnlyErrors) {
  ReplyFramer framer;
  ASSERT_FALSE(framer.next("?\r\n"));
  EXPECT_FALSE(framer.next("+OK\r\n"));
}

TEST(ValueReader, ReadsWhatServersTellOfThemselves) {
  ValueReader reader(kHello);
  const auto map = reader.next();
  ASSERT_TRUE(map) << map.error().message();
  EXPECT_EQ(map->type, Type::kMap);
  ASSERT_EQ(map->number, 14);
  std::string text;
  while (!reader.at_end()) {
    const auto value = reader.next();
    ASSERT_TRUE(value) << value.error().message();
    text += std::string(value->text) + ",";
  }
  EXPECT_EQ(text,
            "server,redis,version,7.0.15,proto,3,id,27,mode,standalone,role,master,modules,0,");
}

TEST(ValueReader, ReadsValues) {
  ValueReader reader("$-1\r\n*-1\r\n_\r\n:-5\r\n#t\r\n=7\r\ntxt:a\r\n\r\n!5\r\nERR x\r\n,nan\r\n");
  EXPECT_TRUE(reader.next()->null);
  EXPECT_TRUE(reader.next()->null);
  EXPECT_TRUE(reader.next()->null);
  EXPECT_EQ(reader.next()->number, -5);
  EXPECT_EQ(reader.next()->number, 1);
  EXPECT_EQ(reader.next()->text, "a\r\n");
  const auto error = reader.next();
  EXPECT_TRUE(is_error(error->type));
  EXPECT_EQ(error->text, "ERR x");
  EXPECT_EQ(reader.next()->text, "nan");
  EXPECT_TRUE(reader.at_end());
  for (const std::string_view cut : {"", "$5\r\nabc", "$3\r\nabcd", "=5\r\ntext!\r\n", "+a"})
    EXPECT_FALSE(ValueReader(cut).next()) << cut;
}

}  // namespace
}  // namespace clonesafe::wire::resp
