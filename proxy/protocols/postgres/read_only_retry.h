#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_READ_ONLY_RETRY_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_READ_ONLY_RETRY_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "proxy/protocols/postgres/pending.h"

namespace clonesafe::proxy::postgres {

// A transaction that the server confirmed to be READ ONLY, as long as the application has got
// nothing of it but that it began: on another connection it can begin again, and what is under way
// be sent again. Only what certainly reads is: SELECT, VALUES, TABLE, WITH. Not thread-safe.
class ReadOnlyRetry {
 public:
  // Of what is sent again.
  static constexpr std::size_t kMaxBytes = std::size_t{64} * 1024;

  // A piece of a message that is sent to the server. Of its first one `pending` knows by now;
  // `at_rest`: nothing was under way before it.
  void sent(const wire::postgres::Piece& piece, const Pending& pending, const SqlOptions& options,
            bool at_rest);
  // ReadyForQuery.
  void ready(TransactionStatus status);
  // The connection is gone. True if all is said again on the next one: in each generation of the
  // machine once, as a server may have ended because of it.
  bool lost(const Pending& pending, bool stale);
  bool begins_again() const { return begins_again_; }
  // BEGIN, if there is one to be said, behind what makes the connection the session's.
  Result<Replay> put_behind(Result<Replay> replay) const;
  void begun_again() { begins_again_ = false; }
  void give_up() { state_ = State::kNone; }

  // What the application sent since its BEGIN.
  const std::string& messages() const { return messages_; }

 private:
  enum class State : std::uint8_t {
    kNone,
    kBeginning,  // BEGIN was sent
    kOpen        // and is confirmed
  };

  State state_ = State::kNone;
  bool repeated_ = false;  // in this generation
  bool begins_again_ = false;
  std::string begin_;
  std::string messages_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_READ_ONLY_RETRY_H_
