#ifndef CLONESAFE_PROXY_PROTOCOLS_REDIS_TRANSACTION_H_
#define CLONESAFE_PROXY_PROTOCOLS_REDIS_TRANSACTION_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/wire/resp/commands.h"

namespace clonesafe::proxy::redis {

// MULTI and WATCH, as the application sent them and as the server confirmed it, with what was
// queued as far as there is room: to begin anew on another connection. Not thread-safe.
class Transaction {
 public:
  using Effect = std::pair<wire::resp::Command, std::vector<std::string>>;

  // The application sent it.
  void send(wire::resp::Command command);
  // It sent this behind MULTI, to be queued.
  bool queues(wire::resp::Command command) const;

  // The server took it.
  void begin() { open_ = true; }
  void watch() { watching_ = true; }
  void unwatch() { watching_ = aborted_ = false; }
  // It queued a command; no bytes: they are not known any more. `arguments`: of one that changes
  // the session.
  void queue(wire::resp::Command command, std::string_view bytes,
             const std::vector<std::string>& arguments);
  void end();

  bool idle() const { return !sent_ && !open_ && !watching_; }
  bool open() const { return open_; }
  // Commands that change the session once they are executed.
  const std::vector<Effect>& effects() const { return effects_; }

  // The connection is gone.
  void lose() { aborted_ = aborted_ || watching_ || queue_lost_; }
  // Nobody knows whether what it watches was changed, or what it queued: EXEC has to give nil.
  bool aborted() const { return aborted_; }
  // Of one that is open: what begins it anew, behind MULTI, and how many replies that gets.
  std::string_view queued() const { return aborted_ ? std::string_view() : queued_; }
  std::size_t queued_count() const { return aborted_ ? 0 : queued_count_; }

 private:
  bool sent_ = false;
  bool open_ = false;
  bool watching_ = false;
  bool aborted_ = false;
  bool queue_lost_ = false;
  std::string queued_;
  std::size_t queued_count_ = 0;
  std::vector<Effect> effects_;
};

}  // namespace clonesafe::proxy::redis

#endif  // CLONESAFE_PROXY_PROTOCOLS_REDIS_TRANSACTION_H_
