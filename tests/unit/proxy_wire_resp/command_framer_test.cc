#include "proxy/wire/resp/command_framer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/resp/builder.h"
#include "tests/unit/proxy_wire_resp/framing.h"

namespace clonesafe::wire::resp {
namespace {

using std::string_view_literals::operator""sv;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> commands_in_any_pieces(std::string_view bytes, CommandLimits limits = {}) {
  auto at_once = commands(bytes, bytes.size(), limits);
  for (const std::size_t piece : {1u, 2u, 3u, 5u, 7u, 11u})
    EXPECT_EQ(commands(bytes, piece, limits), at_once) << "in pieces of " << piece;
  return at_once;
}

// What redis-cli (-3 COMMAND DOCS) and redis-benchmark of 7.0.15 sent, one of each.
constexpr std::string_view kRecorded =
    "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
    "*2\r\n$7\r\nCOMMAND\r\n$4\r\nDOCS\r\n"
    "*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$4\r\nsave\r\n"
    "PING\r\n"
    "*1\r\n$4\r\nPING\r\n"
    "*2\r\n$3\r\nGET\r\n$16\r\nkey:__rand_int__\r\n";

TEST(CommandFramer, FindsCommandsInRecordedBytes) {
  EXPECT_THAT(commands_in_any_pieces(kRecorded),
              ElementsAre("HELLO 2: HELLO 3", " 2: COMMAND DOCS", " 3: CONFIG GET save",
                          "PING 1: PING", "PING 1: PING", "GET 2: GET key:__rand_int__"));
}

TEST(CommandFramer, ACommandInTheInputIsOnePart) {
  CommandFramer framer;
  const auto part = framer.next("*2\r\n$3\r\nget\r\n$1\r\nk\r\n*2\r\n");
  ASSERT_TRUE(part) << part.error().message();
  EXPECT_EQ(part->size, 20u);
  EXPECT_TRUE(part->whole());
  EXPECT_TRUE(part->command->has(kRetryable));
  EXPECT_EQ(part->arguments, 2u);
  EXPECT_TRUE(framer.at_start());
}

TEST(CommandFramer, ALongValuePassesThroughWithoutBeingKept) {
  CommandFramer framer;
  const std::string_view head = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nabc";
  auto part = framer.next(head);
  ASSERT_TRUE(part) << part.error().message();
  EXPECT_EQ(part->size, head.size());
  EXPECT_TRUE(part->first);
  EXPECT_FALSE(part->last);
  EXPECT_FALSE(framer.at_start());
  const std::string chunk(99'997, 'x');
  part = framer.next(chunk);
  EXPECT_EQ(part->size, chunk.size());
  EXPECT_FALSE(part->first);
  for (std::size_t left = 900'000; left != 0; left -= 90'000) {
    part = framer.next(std::string(90'000, 'x'));
    ASSERT_EQ(part->size, 90'000u);
    EXPECT_FALSE(part->last);
  }
  EXPECT_EQ(framer.next("\r")->size, 0u);
  part = framer.next("\r\nPING\r\n");
  EXPECT_EQ(part->size, 2u);
  EXPECT_TRUE(part->last);
  EXPECT_TRUE(framer.at_start());
}

TEST(CommandFramer, WhatChangesTheSessionIsWaitedFor) {
  CommandFramer framer;
  const std::string_view select = "*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n";
  for (std::size_t size = 0; size < select.size(); ++size)
    ASSERT_EQ(framer.next(select.substr(0, size))->size, 0u) << size;
  const auto part = framer.next(select);
  EXPECT_TRUE(part->whole());
  EXPECT_EQ(part->command->command, Command::kSelect);
}

TEST(CommandFramer, WhatIsTypedIsTakenApartAsTheServerDoes) {
  // Each as redis-server 7.0.15 answered it.
  EXPECT_THAT(commands_in_any_pieces("ECHO \"a\\x41\\n\\q\" \r\n"), ElementsAre(" 2: ECHO aA\nq"));
  EXPECT_THAT(commands_in_any_pieces("ECHO 'a\\'b\\n'\r\n"), ElementsAre(" 2: ECHO a'b\\n"));
  EXPECT_THAT(commands_in_any_pieces("ECHO a\"b\"\n"), ElementsAre(" 2: ECHO ab"));
  EXPECT_THAT(commands_in_any_pieces("ECHO a\vb\r\n"), ElementsAre(" 2: ECHO a\vb"));
  EXPECT_THAT(commands_in_any_pieces("\vECHO a\r\n"), ElementsAre(" 2: ECHO a"));
  EXPECT_THAT(commands_in_any_pieces("ECHO a\rb\r\n"), ElementsAre(" 3: ECHO a b"));
  EXPECT_THAT(commands_in_any_pieces("ECHO \"\"\r\n"), ElementsAre(" 2: ECHO "));
  EXPECT_THAT(commands_in_any_pieces("'select' 3\r\n"), ElementsAre("SELECT 2: select 3"));
  EXPECT_THAT(commands_in_any_pieces("ECHO \"a\"b\r\n"), Contains(HasSubstr("unbalanced quotes")));
  EXPECT_THAT(commands_in_any_pieces("ECHO \"abc\r\n"), Contains(HasSubstr("unbalanced quotes")));
  EXPECT_THAT(commands_in_any_pieces("set \"\"\"test-key\"\"\" test-value\r\n"),
              Contains(HasSubstr("unbalanced quotes")));
  // The server waits for ever: it sees no end of a line behind a NUL.
  EXPECT_THAT(commands_in_any_pieces("ECHO a\0b\r\n"sv), Contains(HasSubstr("NUL")));
}

TEST(CommandFramer, CommandsOfNothingGetNoReply) {
  EXPECT_THAT(commands_in_any_pieces("\r\n*0\r\n*-10\r\n  \nPING\r\n"),
              ElementsAre("empty 0:", "empty 0:", "empty 0:", "empty 0:", "PING 1: PING"));
}

TEST(CommandFramer, RefusesWhatIsNoCommand) {
  struct Case {
    std::string_view bytes;
    std::string_view error;
  };
  for (const auto& [bytes, error] : {
           // These are in redis-server's own test of the protocol.
           Case{"*3000000000\r\n", "Protocol error: invalid multibulk length, more than 1048576"},
           Case{"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "expected '$', got 'f' at byte 20"},
           Case{"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$-10\r\n", "invalid bulk length at byte 20"},
           Case{"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2000000000\r\n", "invalid bulk length"},
           Case{"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$blabla\r\n", "invalid bulk length"},
           Case{"*1\r\nfoo\r\n", "expected '$', got 'f'"},
           Case{"\0"sv, "Protocol error: a NUL"},
           Case{"*\0aaaaaaaaaaaaaaaaaaaaaaaa"sv, "Protocol error: too big mbulk count string"},
           Case{"*1\r\n$\0aaaaaaaaaaaaaaaaaaaa"sv, "Protocol error: too big bulk count string"},
           // Numbers in other forms.
           Case{"*+1\r\n", "invalid multibulk length"},
           Case{"*01\r\n", "invalid multibulk length"},
           Case{"* 1\r\n", "invalid multibulk length"},
           Case{"*\r\n", "invalid multibulk length"},
           Case{"*-0\r\n", "invalid multibulk length"},
           Case{"*99999999999999999999\r\n", "invalid multibulk length"},
           Case{"*1\r\n$+4\r\n", "invalid bulk length"},
           Case{"*1\r\n$04\r\nPING\r\n", "invalid bulk length"},
           Case{"*1\r\n$-1\r\n", "invalid bulk length"},
           Case{"*1\r\n$536870913\r\n", "more than 536870912"},
           // Ends that redis-server takes, and others understand differently.
           Case{"*1\rX$4\rXPING\r\n", "carriage return without a line feed"},
           Case{"*1\n$4\nPING\n", "line feed without a carriage return"},
           Case{"*1\r\n$4\r\nPINGxx", "longer than its bulk length at byte 12"},
           Case{"*1\r\n$4\r\nPING\rx", "longer than its bulk length"},
           Case{"*1\r\n$3\r\nPING\r\n", "longer than its bulk length"},
       }) {
    const auto seen = commands_in_any_pieces(bytes);
    ASSERT_EQ(seen.size(), 1u) << testing::PrintToString(bytes);
    EXPECT_THAT(seen[0], HasSubstr(error)) << testing::PrintToString(bytes);
  }
}

TEST(CommandFramer, LimitsAreOfTheConfiguration) {
  const CommandLimits limits{.bulk = 10, .arguments = 3, .inline_line = 8, .whole = 38};
  EXPECT_THAT(commands_in_any_pieces("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n", limits),
              ElementsAre(" 3: SET k 0123456789"));
  EXPECT_THAT(commands_in_any_pieces("*4\r\n", limits),
              Contains(HasSubstr("more than 3 at byte 0")));
  EXPECT_THAT(commands_in_any_pieces("*1\r\n$11\r\n", limits), Contains(HasSubstr("more than 10")));
  EXPECT_THAT(commands_in_any_pieces("GET 1234\n", limits), ElementsAre("GET 2: GET 1234"));
  EXPECT_THAT(commands_in_any_pieces("GET 12345\r\n", limits), Contains(HasSubstr("more than 8")));
  EXPECT_THAT(commands_in_any_pieces("GET 12345", limits), Contains(HasSubstr("more than 8")));
  // 39 bytes, which the lengths tell before they are there.
  EXPECT_THAT(commands_in_any_pieces("*3\r\n$4\r\nAUTH\r\n$7\r\n0123456\r\n$6\r\n", limits),
              Contains(HasSubstr("AUTH of more than 38 bytes")));
  EXPECT_THAT(
      commands_in_any_pieces("*3\r\n$4\r\nAUTH\r\n$7\r\n0123456\r\n$5\r\n01234\r\n", limits),
      ElementsAre("AUTH 3: AUTH 0123456 01234"));
}

TEST(CommandFramer, AContainerThatIsTooLongIsPassedOnInParts) {
  CommandFramer framer({.whole = 40});
  const std::string_view command = "*3\r\n$6\r\nOBJECT\r\n$4\r\nFREQ\r\n$20\r\n0123";
  const auto part = framer.next(command);
  ASSERT_TRUE(part) << part.error().message();
  EXPECT_EQ(part->size, command.size());
  EXPECT_FALSE(part->last);
}

TEST(CommandFramer, AfterAnErrorThereAreOnlyErrors) {
  CommandFramer framer;
  const auto first = framer.next("*x\r\n");
  ASSERT_FALSE(first);
  const auto second = framer.next("PING\r\n");
  ASSERT_FALSE(second);
  EXPECT_EQ(first.error().message(), second.error().message());
}

TEST(CommandFramer, ReadsWhatTheBuilderWrites) {
  std::string bytes;
  append_command(bytes, {"HELLO", "3", "AUTH", "user", "pass word\r\n", "SETNAME", ""});
  EXPECT_THAT(commands_in_any_pieces(bytes),
              ElementsAre("HELLO 7: HELLO 3 AUTH user pass word\r\n SETNAME "));
}

}  // namespace
}  // namespace clonesafe::wire::resp
