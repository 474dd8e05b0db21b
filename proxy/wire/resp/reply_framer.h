#ifndef CLONESAFE_PROXY_WIRE_RESP_REPLY_FRAMER_H_
#define CLONESAFE_PROXY_WIRE_RESP_REPLY_FRAMER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "proxy/wire/resp/value.h"

namespace clonesafe::wire::resp {

// In bytes.
struct ReplyLimits {
  std::uint64_t bulk = 512u << 20;      // one string
  std::uint64_t elements = 1ull << 32;  // of one aggregate
  std::size_t line = 64u << 10;         // a simple string, an error, a big number
  std::size_t whole = 1u << 20;         // a reply that is handed out whole, or its attributes
};

// What comes without being asked for, by its first element.
enum class PushKind : std::uint8_t {
  kNone,  // a reply
  kOther,
  kInvalidate,
  kMessage,
  kPatternMessage,
  kShardMessage,
  // Of a subscription; these are handed out whole.
  kSubscribe,
  kPatternSubscribe,
  kShardSubscribe,
  kUnsubscribe,
  kPatternUnsubscribe,
  kShardUnsubscribe,
};
constexpr bool confirms_subscription(PushKind kind) {
  return kind >= PushKind::kSubscribe;
}

struct ReplyPart {
  // So many bytes at the beginning of the input. 0: more input is needed.
  std::size_t size = 0;
  bool first = false;
  bool last = false;
  // Of the reply that the part is of, in each of its parts. Attributes before it belong to it.
  Type type = Type::kNull;
  PushKind push = PushKind::kNone;

  // ValueReader can read it.
  bool whole() const { return first && last; }
};

enum class Handling {
  kPassOn,
  // In one part. An error if it is longer than the limit.
  kWhole,
};

// Cuts what a server sends into replies and pushes, and long ones into parts that can be passed on.
// Aggregates may be nested kMaxDepth deep. Streamed strings and aggregates, which no server sends,
// are refused.
//
// It keeps no bytes: what a part doesn't cover has to be given again, with more behind it. An input
// of max(line + 3, whole) bytes is always enough for a part or an error.
// Not thread-safe; one per direction of a connection. After an error there are only errors.
class ReplyFramer {
 public:
  // What a script of Redis's gives can be thousands deep.
  static constexpr std::size_t kMaxDepth = 8192;

  explicit ReplyFramer(ReplyLimits limits = {}) : limits_(limits) {}

  // `handling` counts until the first part of a reply is returned. It can differ from reply to
  // reply.
  Result<ReplyPart> next(std::string_view input, Handling handling = Handling::kPassOn);

  // A RESP2 server sends messages and confirmations as arrays. Only who sent the requests knows
  // when an array that begins with "message" is one.
  void set_subscribed(bool subscribed) { subscribed_ = subscribed; }

  bool at_start() const { return state_ == State::kHeader && levels_.empty() && scanned_ == 0; }

 private:
  enum class State { kHeader, kPayload, kPayloadEnd };
  struct Level {
    std::uint64_t left = 0;
    bool attribute = false;
  };

  Result<ReplyPart> part();
  Result<ReplyPart> begin_value(std::string_view input);
  Status begin_aggregate(Type type, std::uint64_t elements);
  // The reply is known well enough for its first part.
  void know(PushKind push, Handling handling);
  // The next value is the first element of what may be a push.
  bool awaits_kind() const { return typed_ && !known_ && levels_.size() == 1; }
  bool too_long() const { return (!known_ || whole_) && scanned_ > limits_.whole; }
  std::unexpected<Error> refuse_length();
  // Counts a value that has ended. True if the reply has.
  bool end_value();
  Result<ReplyPart> finish();
  std::unexpected<Error> refuse(std::string what, std::size_t at);

  const ReplyLimits limits_;
  std::optional<Error> failed_;
  bool subscribed_ = false;
  Handling handling_ = Handling::kPassOn;
  State state_ = State::kHeader;
  bool first_ = true;
  bool typed_ = false;  // type_ is known
  bool known_ = false;  // and so is push_
  bool whole_ = false;
  Type type_ = Type::kNull;
  PushKind push_ = PushKind::kNone;
  // Bytes of the input that have been read, but are in no part yet.
  std::size_t scanned_ = 0;
  // Of those behind `scanned_`, how many hold no end of a line.
  std::size_t line_scanned_ = 0;
  // Of the connection, up to the input.
  std::uint64_t offset_ = 0;
  std::uint64_t payload_left_ = 0;
  std::vector<Level> levels_;
};

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_PROXY_WIRE_RESP_REPLY_FRAMER_H_
