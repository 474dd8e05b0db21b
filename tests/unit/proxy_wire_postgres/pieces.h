#ifndef CLONESAFE_TESTS_UNIT_PROXY_WIRE_POSTGRES_PIECES_H_
#define CLONESAFE_TESTS_UNIT_PROXY_WIRE_POSTGRES_PIECES_H_

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "proxy/wire/postgres/framer.h"

namespace clonesafe::wire::postgres {

struct Message {
  char type = 0;
  std::string first;  // the first piece
  std::string bytes;  // all of them
  std::string body() const { return bytes.substr(kHeaderSize); }
  bool operator==(const Message&) const = default;
};

// What a framer makes of a stream that comes in reads of `read` bytes; how it is cut may differ
// for what passes, nothing else.
struct Framed {
  std::vector<Message> messages;  // the last may not have ended
  std::string error;
  std::string bytes;  // all pieces
  std::uint64_t position = 0;
  bool between = false;
};

inline Framed frame(Framer framer, std::string_view stream, std::size_t read) {
  Framed framed;
  for (std::size_t at = 0; at < stream.size() && framed.error.empty(); at += read) {
    auto input = stream.substr(at, read);
    while (true) {
      auto piece = framer.next(input);
      if (!piece) {
        framed.error = piece.error().message();
        break;
      }
      if (!*piece) break;
      if ((*piece)->first) framed.messages.push_back({.type = (*piece)->type});
      auto& message = framed.messages.back();
      if ((*piece)->first) message.first = (*piece)->bytes;
      message.bytes += (*piece)->bytes;
      framed.bytes += (*piece)->bytes;
    }
  }
  framed.position = framer.position();
  framed.between = framer.between_messages();
  return framed;
}

// The body of the one message that `append` writes, as a framer hands it out.
template <typename Append>
std::string body_of(Framer::From from, char type, Append append) {
  std::string bytes;
  append(bytes);
  const auto framed = frame(Framer(from), bytes, 3);
  EXPECT_EQ(framed.error, "");
  EXPECT_EQ(framed.messages.size(), 1U);
  if (framed.messages.size() != 1) return {};
  EXPECT_EQ(framed.messages[0].type, type);
  return framed.messages[0].body();
}

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_TESTS_UNIT_PROXY_WIRE_POSTGRES_PIECES_H_
