#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SERVER_OPENER_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SERVER_OPENER_H_

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "proxy/protocols/postgres/login.h"
#include "proxy/protocols/postgres/shared.h"

namespace clonesafe::proxy::postgres {

// A server's session that is ready, and where it is cancelled.
struct OpenedServer {
  Backend backend;
  std::shared_ptr<const CancelTarget> target;
};

// The server takes no more sessions now.
inline bool is_full(const Refusal& refusal) {
  return refusal.sqlstate == sqlstate::kTooManyConnections;
}

// Gets an application its servers: connects, logs in, and does it again later where the server is
// full, starts or stops. Not thread-safe.
class ServerOpener {
 public:
  using Clock = std::chrono::steady_clock;
  // An upstream connection for the application; an error is counted and logged.
  using Connect = std::function<Awaitable<Answer<std::shared_ptr<Stream>>>(Upstream::Peer& peer)>;

  // They outlive it.
  ServerOpener(SessionHost& host, const Application& application, Connect connect)
      : host_(host),
        application_(application),
        connect_(std::move(connect)),
        limit_(host.loop.timer()) {}

  // A new session of the application's user; or what a server said to the last attempt before
  // `until`. Who waits for a full one is counted, unless he was because he waited for something
  // else before.
  Awaitable<Answer<OpenedServer>> open(const Parameters& parameters, const Replay& replay,
                                       Clock::time_point until, bool was_counted = false);
  // Says it on a connection that nothing is under way on, within the time that a connect may take.
  Awaitable<Answer<void>> say(Backend& backend, const Replay& replay);
  // What fails is seen by who reads from it.
  Awaitable<void> write(std::shared_ptr<Stream> stream, std::string bytes);

  // The machine was cloned.
  void fence() {
    if (stream_ && stream_->stale()) stream_->close();
  }
  // What is under way ends, and nothing is begun any more.
  void end() {
    ended_ = true;
    if (stream_) stream_->close();
  }

 private:
  Awaitable<Answer<OpenedServer>> attempt(const Parameters& parameters, const Replay& replay);
  Awaitable<void> pause_until(Clock::time_point then);
  void limit_silence(Milliseconds more = Milliseconds(0));

  SessionHost& host_;
  const Application& application_;
  const Connect connect_;
  std::shared_ptr<Stream> stream_;  // on which something is waited for
  boost::asio::steady_timer limit_;
  bool ended_ = false;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SERVER_OPENER_H_
