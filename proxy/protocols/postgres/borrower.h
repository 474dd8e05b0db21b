#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_BORROWER_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_BORROWER_H_

#include <memory>
#include <string>

#include "proxy/protocols/postgres/read_only_retry.h"
#include "proxy/protocols/postgres/server_opener.h"
#include "proxy/protocols/postgres/server_pool.h"

namespace clonesafe::proxy::postgres {

// Gets a session connections that others have before and after it. Not thread-safe.
class Borrower {
 public:
  // They outlive it; the first has a pool.
  Borrower(SessionHost& host, ServerOpener& opener, Shadow& shadow, const ReadOnlyRetry& retry)
      : host_(host), opener_(opener), shadow_(shadow), retry_(retry), waiter_(host.loop) {}

  // With what its connections are opened, which says who may share them.
  void begin(Parameters fixed);
  // One that is free, or a new one, on which the session's state is set. Is full: none was free in
  // `hold_ms`.
  Awaitable<Answer<std::unique_ptr<ServerPool::Loan>>> borrow(Stream& application);
  // The application did, while it waited.
  bool left() const { return waiter_.left(); }
  // What is under way ends.
  void end() {
    ended_ = true;
    waiter_.cancel();
  }

 private:
  Awaitable<Answer<std::unique_ptr<SharedServer>>> open();
  Awaitable<Answer<void>> settle(SharedServer& server);
  std::unexpected<Refusal> none_free() const;

  SessionHost& host_;
  ServerOpener& opener_;
  Shadow& shadow_;
  const ReadOnlyRetry& retry_;
  Parameters fixed_;
  std::string key_;
  ServerPool::Waiter waiter_;
  bool ended_ = false;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_BORROWER_H_
