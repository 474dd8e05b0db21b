#ifndef CLONESAFE_PROXY_PROTOCOLS_REDIS_SENT_H_
#define CLONESAFE_PROXY_PROTOCOLS_REDIS_SENT_H_

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/wire/resp/commands.h"

namespace clonesafe::proxy::redis {

// A command whose reply the application waits for.
struct Sent {
  const wire::resp::CommandInfo* command = nullptr;
  std::uint64_t begin = 0;             // of its bytes, among all that were sent
  std::uint64_t size = 0;              // that have been sent
  bool complete = false;               // all of it was sent
  bool began = false;                  // a part of its reply went to the application
  bool in_transaction = false;         // it was queued behind MULTI
  std::size_t confirmations = 0;       // of channels, that are to come
  bool of_all = false;                 // UNSUBSCRIBE without names: until there are none
  bool tunnel = false;                 // from its reply on bytes are carried as they are
  std::vector<std::string> arguments;  // of one that changes the session; else empty
  // If not empty: given without asking the server, as its connection was lost; or, once the server
  // has replied, in place of that.
  std::string answer;
  std::string substitute;
};

// Commands in the order of their replies, with their bytes as far as there is room: to be sent
// again. Not thread-safe.
class SentCommands {
 public:
  // Bytes that are kept at most.
  static constexpr std::size_t kMaxKept = std::size_t{256} * 1024;

  void begin(const wire::resp::CommandInfo* command);
  // More bytes of the last one.
  void add(std::string_view bytes);
  Sent& last() { return list_.back(); }
  Sent& front() { return list_.front(); }
  const Sent& front() const { return list_.front(); }
  void pop();
  // The last one, which will never be complete.
  void drop_last() { list_.pop_back(); }

  bool empty() const { return list_.empty(); }
  std::size_t size() const { return list_.size(); }
  std::deque<Sent>& list() { return list_; }
  // Nothing if they were not kept.
  std::string_view bytes_of(const Sent& sent) const;

 private:
  std::deque<Sent> list_;
  std::string kept_;
  std::uint64_t kept_from_ = 0;  // the position of its first byte
  std::uint64_t end_ = 0;        // of all that was sent
  bool full_ = false;            // bytes were left out behind kept_
};

}  // namespace clonesafe::proxy::redis

#endif  // CLONESAFE_PROXY_PROTOCOLS_REDIS_SENT_H_
