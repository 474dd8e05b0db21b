#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_FRAMER_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_FRAMER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/postgres/protocol.h"

namespace clonesafe::wire::postgres {

// How a framer hands out the messages of one type.
enum class Handling : std::uint8_t {
  kRefuse,  // an error: the protocol has no such message in this direction
  kPass,    // in whatever pieces it comes; only the header is never cut
  kHead,    // the first piece has the body's first `max_head` bytes, or all of a shorter one
  kWhole,   // in one piece; longer than `max_whole` is an error
};
using Handlings = std::array<Handling, 256>;

// What a proxy needs once a session is there: rows, copied data and results pass; names of
// statements and portals, SQL, and SQLSTATEs are in heads; all else is whole.
const Handlings& client_handlings();
const Handlings& server_handlings();

struct FramerOptions {
  std::uint32_t max_whole = 64 * 1024;  // bytes of body
  std::uint32_t max_head = 64 * 1024;   // bytes of body
  // Bytes of body of any message.
  std::uint32_t max_body = kMaxLength - kLengthSize;
};

// Part of a message, or all of it. The pieces of a stream, one after the other, are the stream.
struct Piece {
  char type = 0;
  std::uint32_t body_size = 0;  // of the whole message
  bool first = false;
  bool last = false;
  // Header and body. In the caller's input, or in the framer until its next call. The first piece
  // begins with the header, and nothing of a message is handed out before its header was checked.
  std::string_view bytes;

  bool whole() const { return first && last; }
  // Of a first piece: what it has of the body.
  std::string_view body() const { return bytes.substr(kHeaderSize); }
  bool is(ClientMessage other) const { return type == static_cast<char>(other); }
  bool is(ServerMessage other) const { return type == static_cast<char>(other); }
};

// Cuts a stream of typed messages, given in reads of any size, into pieces. What passes is not
// copied and not kept; a head or a whole message that comes in several reads is put together here,
// so that at most max(max_whole, max_head) bytes and a header are held. Allocates only for those.
//
//   while (true) {
//     auto piece = framer.next(input);   // takes from the front of `input`
//     if (!piece) return fail(...);      // and again at each further call
//     if (!*piece) break;                // all of `input` was taken
//     ...
//   }
//
// Not thread-safe; one for each direction of a connection.
class Framer {
 public:
  enum class From : std::uint8_t { kClient, kServer };

  explicit Framer(From from, FramerOptions options = {});

  // For messages that begin after this one: before the session is there, or for the answer of a
  // query of the proxy's own, more has to be whole.
  void handle(ClientMessage type, Handling handling) { set(static_cast<char>(type), handling); }
  void handle(ServerMessage type, Handling handling) { set(static_cast<char>(type), handling); }
  void handle_all(Handling handling);  // of the types that the direction has
  void handle_by_default();

  Result<std::optional<Piece>> next(std::string_view& input);

  // Nothing of a message has come that has not ended: where a stream may end.
  bool between_messages() const { return state_ == State::kHeader && kept_.empty(); }
  // Bytes taken so far.
  std::uint64_t position() const { return position_; }

 private:
  enum class State : std::uint8_t { kHeader, kCollect, kPass, kFailed };

  void set(char type, Handling handling) {
    handlings_[static_cast<unsigned char>(type)] = handling;
  }
  Status begin(std::string_view header);
  Piece hand_out(std::string_view bytes);
  std::string_view take(std::string_view& input, std::size_t size);
  std::unexpected<Error> refuse(std::string what);
  std::string_view name() const;

  From from_;
  FramerOptions options_;
  Handlings handlings_;
  State state_ = State::kHeader;
  bool kept_is_out_ = false;     // `kept_` was handed out, and goes at the next call
  bool first_ = true;            // the next piece of the message is its first
  char type_ = 0;                // of the message that began last
  std::uint32_t body_size_ = 0;  // of it
  std::uint32_t wanted_ = 0;     // header and body to be handed out in one piece
  std::uint32_t left_ = 0;       // of the message, not yet handed out
  std::uint64_t position_ = 0;
  std::uint64_t message_at_ = 0;  // position of the message's header
  std::string kept_;
  std::string error_;
};

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_FRAMER_H_
