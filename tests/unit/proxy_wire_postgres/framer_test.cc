#include "proxy/wire/postgres/framer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/server_messages.h"
#include "tests/unit/proxy_wire_postgres/captured.h"
#include "tests/unit/proxy_wire_postgres/pieces.h"

namespace clonesafe::wire::postgres {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kZeros("\0\0\0\0", 4);

std::string types_of(const Framed& framed) {
  std::string types;
  for (const auto& message : framed.messages) types += message.type;
  return types;
}

std::string message(char type, std::uint32_t length, std::string_view body) {
  std::string bytes(1, type);
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(length >> shift);
  return bytes += body;
}

Framer from_client(FramerOptions options = {}) {
  return Framer(Framer::From::kClient, options);
}
Framer from_server(FramerOptions options = {}) {
  return Framer(Framer::From::kServer, options);
}

TEST(Framer, HandsOutAStreamAtEachSplitAsAtOnce) {
  for (const auto& [framer, stream] : {std::pair(from_client(), captured::kPgbenchClient),
                                       std::pair(from_server(), captured::kPgbenchServer),
                                       std::pair(from_server(), captured::kPsqlServer)}) {
    const auto at_once = frame(framer, stream, stream.size());
    ASSERT_EQ(at_once.error, "");
    EXPECT_EQ(at_once.bytes, stream);
    EXPECT_TRUE(at_once.between);
    for (std::size_t read = 1; read < stream.size(); ++read) {
      const auto split = frame(framer, stream, read);
      EXPECT_EQ(split.error, "");
      EXPECT_EQ(split.bytes, stream);
      EXPECT_EQ(types_of(split), types_of(at_once)) << read;
      EXPECT_EQ(split.position, stream.size());
    }
  }
}

TEST(Framer, TellsTheTypesOfACapturedSession) {
  const auto client = captured::kPgbenchClient;
  EXPECT_EQ(types_of(frame(from_client(), client, client.size())), "PSBDESX");
  const auto server = captured::kPsqlServer;
  EXPECT_EQ(types_of(frame(from_server(), server, server.size())),
            "RRRRSSSSSSSSSSSSSKZTDCZCEZHdcCZ");
}

TEST(Framer, HandsOutWholeMessagesWholeAtEachSplit) {
  auto framer = from_server();
  framer.handle_all(Handling::kWhole);
  const auto stream = captured::kPsqlServer;
  const auto at_once = frame(framer, stream, stream.size());
  for (const auto& each : at_once.messages) EXPECT_EQ(each.first, each.bytes);
  for (std::size_t read = 1; read < stream.size(); ++read)
    EXPECT_EQ(frame(framer, stream, read).messages, at_once.messages) << read;
}

TEST(Framer, PassesALongMessageWithoutKeepingIt) {
  auto framer = from_server();
  const std::string row = message('D', 1'000'000 + kLengthSize, std::string(1'000'000, 'x'));
  const auto framed = frame(framer, row + row, 65536);
  EXPECT_EQ(framed.messages.size(), 2U);
  EXPECT_EQ(framed.bytes, row + row);

  // The bytes lie in the caller's input.
  std::string_view input = row;
  const auto piece = framer.next(input);
  ASSERT_TRUE(piece && *piece);
  EXPECT_TRUE((*piece)->whole());
  EXPECT_EQ((*piece)->bytes.data(), row.data());
}

TEST(Framer, NeverCutsAHeader) {
  const std::string row = message('D', 10, "abcdef");
  for (std::size_t split = 1; split < row.size(); ++split) {
    auto framer = from_server();
    for (auto input :
         {std::string_view(row).substr(0, split), std::string_view(row).substr(split)}) {
      while (true) {
        const auto piece = framer.next(input);
        ASSERT_TRUE(piece);
        if (!*piece) break;
        EXPECT_EQ((*piece)->body_size, 6U);
        if ((*piece)->first) {
          EXPECT_GE((*piece)->bytes.size(), kHeaderSize);
        }
      }
      EXPECT_TRUE(input.empty());
    }
  }
}

TEST(Framer, GivesTheHeadOfALongMessageAndPassesTheRest) {
  const auto options = FramerOptions{.max_head = 100};
  std::string bind;
  ASSERT_TRUE(append_bind_names(bind, "", "statement", 1000));
  bind += std::string(1000, 'v');
  for (const std::size_t read : {std::size_t{1}, std::size_t{7}, bind.size()}) {
    const auto framed = frame(from_client(options), bind + bind, read);
    ASSERT_EQ(framed.messages.size(), 2U);
    for (const auto& each : framed.messages) {
      EXPECT_EQ(each.first.size(), 100 + kHeaderSize);
      EXPECT_EQ(each.bytes, bind);
      EXPECT_EQ(parse_bind_names(each.first.substr(kHeaderSize))->statement, "statement");
    }
  }
}

TEST(Framer, RefusesWhatTheProtocolDoesNotHave) {
  struct Case {
    Framer framer;
    std::string stream;
    const char* error;
  };
  const auto ready = message('Z', 5, "I");
  const std::vector<Case> cases = {
      {from_client(), "\x7f", "PostgreSQL client, byte 0: message type 0x7f isn't one"},
      {from_client(), message('Z', 5, "I"), "message type 'Z' isn't one"},
      {from_server(), message('Q', 5, "\0"), "message type 'Q' isn't one"},
      {from_server(), ready + ready + "Y", "PostgreSQL server, byte 12: message type 'Y'"},
      {from_server(), message('D', 3, ""), "byte 0: DataRow of length 3"},
      {from_server(), message('D', 0, ""), "DataRow of length 0"},
      {from_server(), message('D', 0x40000000, ""), "DataRow of 1073741820 bytes, the limit is"},
      {from_server(), message('D', 0xffffffff, ""), "the limit is 1073741819"},
      {from_server({.max_body = 10}), message('D', 15, ""), "DataRow of 11 bytes, the limit is 10"},
      {from_server({.max_whole = 9}), message('S', 14, ""),
       "ParameterStatus of 10 bytes, the limit for messages that are read is 9"},
      {from_server(), message('Z', 6, "II"), "ReadyForQuery of 2 bytes, not 1"},
      {from_server(), message('1', 5, "I"), "ParseComplete of 1 bytes, not 0"},
      {from_client(), message('S', 8, kZeros), "Sync of 4 bytes, not 0"},
  };
  for (const auto& each : cases) {
    const auto at_once = frame(each.framer, each.stream, each.stream.size());
    EXPECT_THAT(at_once.error, HasSubstr(each.error));
    for (std::size_t read = 1; read < each.stream.size(); ++read) {
      const auto split = frame(each.framer, each.stream, read);
      EXPECT_EQ(split.error, at_once.error) << read;
      EXPECT_EQ(split.messages, at_once.messages) << read;
    }
  }
}

TEST(Framer, StaysInError) {
  auto framer = from_server();
  const std::string good = message('Z', 5, "I");
  std::string_view bad = "!";
  const auto first = framer.next(bad);
  ASSERT_FALSE(first);
  std::string_view input = good;
  const auto second = framer.next(input);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message(), first.error().message());
  EXPECT_EQ(input, good);
}

TEST(Framer, KnowsWhereAStreamMayEnd) {
  auto framer = from_server();
  EXPECT_TRUE(framer.between_messages());
  const std::string row = message('D', 10, "abcdef");
  for (std::size_t i = 0; i < row.size(); ++i) {
    auto input = std::string_view(row).substr(i, 1);
    while (*framer.next(input)) {
    }
    EXPECT_EQ(framer.between_messages(), i + 1 == row.size()) << i;
  }
}

TEST(Framer, HandlesATypeOtherwiseFromItsNextMessageOn) {
  auto framer = from_server();
  const std::string row = message('D', 10, "abcdef");
  framer.handle(ServerMessage::kDataRow, Handling::kWhole);
  EXPECT_THAT(frame(framer, row, 1).messages, ElementsAre(Message{'D', row, row}));
  framer.handle_by_default();
  EXPECT_THAT(frame(framer, row, 1).messages, ElementsAre(Message{'D', row.substr(0, 5), row}));
}

}  // namespace
}  // namespace clonesafe::wire::postgres
