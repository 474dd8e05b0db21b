#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_CONVERSATION_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_CONVERSATION_H_

#include <memory>
#include <string>
#include <string_view>

#include "proxy/core/stream.h"
#include "proxy/wire/postgres/error_response.h"
#include "proxy/wire/postgres/framer.h"

namespace clonesafe::proxy::postgres {

using wire::postgres::ClientMessage;
using wire::postgres::Framer;
using wire::postgres::ServerMessage;
using wire::postgres::TransactionStatus;
namespace sqlstate = wire::postgres::sqlstate;

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}
inline std::string_view view_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Outside COPY a server takes no notice of it.
inline bool asks_for_nothing(ClientMessage type) {
  return type == ClientMessage::kFlush || type == ClientMessage::kCopyData ||
         type == ClientMessage::kCopyDone || type == ClientMessage::kCopyFail;
}

// Why somebody is not let in, as the protocol says it.
struct Refusal {
  std::string sqlstate;
  std::string message;
  bool logged = false;  // what is behind it
};
template <typename T>
using Answer = std::expected<T, Refusal>;

inline std::unexpected<Refusal> refuse(std::string_view sqlstate, std::string message) {
  return std::unexpected(Refusal{.sqlstate = std::string(sqlstate), .message = std::move(message)});
}

// Statements and names up to this size are read; longer ones are only passed on.
inline constexpr std::uint32_t kMaxHead = 1 << 20;

// An ErrorResponse. What it says has no zero byte.
std::string error_message(std::string_view severity, std::string_view sqlstate,
                          std::string_view message);

struct Message {
  char type = 0;
  std::string_view body;

  bool is(ClientMessage other) const { return type == static_cast<char>(other); }
  bool is(ServerMessage other) const { return type == static_cast<char>(other); }
};

// One side's messages, each whole, one after the other: for all that comes before a session is
// there. What was read beyond them is handed over to the session.
class Conversation {
 public:
  Conversation(std::shared_ptr<Stream> stream, Framer framer, std::string_view received = {});
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  // Its body is there until the next call. The peer's end is an error.
  Awaitable<Result<Message>> next();
  // The text is used until it has ended.
  Awaitable<Status> send(std::string_view text) {
    co_return co_await stream_->write(bytes_of(text));
  }

  const std::shared_ptr<Stream>& stream() const { return stream_; }
  // For the session: in its usual handling, and what was not taken yet.
  Framer take_framer();
  std::string take_rest() const { return std::string(input_); }

 private:
  std::shared_ptr<Stream> stream_;
  Framer framer_;
  std::string buffer_;
  std::string_view input_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_CONVERSATION_H_
