// service: what listens, and which sessions there are.
#ifndef CLONESAFE_PROXY_SERVICE_SERVICE_H_
#define CLONESAFE_PROXY_SERVICE_SERVICE_H_

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "proxy/config/config.h"
#include "proxy/core/gate.h"
#include "proxy/core/loop.h"
#include "proxy/health/health_checks.h"
#include "proxy/service/census.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream.h"

namespace clonesafe::proxy {

// A service's part that all threads share: made before they use it, and never changed.
struct ServiceParts {
  ServiceConfig config;
  std::optional<TlsContext> listen_tls;
  std::optional<TlsContext> upstream_tls;
  std::shared_ptr<postgres::Shared> postgres;
  std::shared_ptr<OwnPorts> own_ports;  // of a transparent service
  std::shared_ptr<const Commands> commands;

  // `commands` runs those that the configuration names; null: they fail.
  static Result<ServiceParts> make(const ServiceConfig& config,
                                   std::shared_ptr<const Commands> commands = nullptr);
};

// A service on one thread. What it waits for keeps it alive.
class Service : public std::enable_shared_from_this<Service> {
 public:
  Service(Loop& loop, std::shared_ptr<const ServiceParts> parts);
  ~Service();

  // Listening sockets of its own (SO_REUSEPORT), or a copy of a Unix socket's.
  Status listen(std::vector<UniqueFd> sockets);
  void stop_listening();

  // Abandons what is stale, a number of sessions at a time, so that requests that wait are served
  // first.
  void fence();
  // Whether some are left to be abandoned.
  bool fencing() const { return fencing_ != 0; }
  // fence() was left for want of memory, and has to be called again.
  bool half_fenced() const { return half_fenced_; }
  void look(std::chrono::steady_clock::time_point now);
  void reset_all();

  // While there is a reason nothing that applications send is passed on. Nothing is closed.
  void hold_applications(Gate::Reason reason) { gate_.close(reason); }
  void release_applications(Gate::Reason reason) { gate_.open(reason); }
  // A snapshot was announced: no upstream connection is opened. With `part` those that nothing is
  // under way on are closed; asked again and again.
  void park(bool part);
  void unpark();

  const ServiceParts& parts() const { return *parts_; }
  ServiceCounts counts() const;
  // With those that are in their handshake.
  std::size_t session_count() const { return records_.size(); }
  std::uint64_t upstream_connections() const { return upstream_.traffic().open; }
  std::uint64_t commands_running() const { return host_.commands_running; }

  ServiceCensus census() const;
  // Up to `limit` of them.
  std::vector<SessionCensus> sessions(std::size_t limit) const;

 private:
  using Acceptor = boost::asio::basic_socket_acceptor<boost::asio::generic::stream_protocol>;
  struct Listener {
    Acceptor acceptor;
    bool accepts = false;
  };
  // One of `records_`, whatever becomes of its session.
  class Recorded {
   public:
    Recorded(Service& service, SessionRecord& record) : service_(service), record_(record) {
      service_.records_.insert(&record_);
    }
    ~Recorded() {
      service_.records_.erase(&record_);
      --service_.admitted_;
      service_.ended_ += record_.application;
    }
    Recorded(const Recorded&) = delete;
    Recorded& operator=(const Recorded&) = delete;

   private:
    Service& service_;
    SessionRecord& record_;
  };

  Awaitable<void> accept(std::shared_ptr<Service> kept, Listener& listener);
  void accept_again();
  void say_why_not(const std::string& why);
  void take(Socket socket, Endpoint from);
  void take_waiting();
  bool is_from_here(const Endpoint& from) const;
  Awaitable<void> serve(std::shared_ptr<Service> kept, Socket socket, Guard guard, Endpoint from);
  Awaitable<void> serve_recorded(Socket socket, Guard guard, SessionRecord& record);
  Awaitable<Result<std::unique_ptr<Stream>>> greet(Socket socket, Guard guard, Ends& ends,
                                                   Traffic& traffic);
  bool is_trusted(const Endpoint& peer) const;
  void log_access(const SessionRecord& record) const;
  bool listening() const;
  void check_health(std::chrono::steady_clock::time_point now);
  static Awaitable<void> check_address(std::shared_ptr<Service> kept, std::size_t address);
  void open_idle();
  Awaitable<void> open_one_idle(std::shared_ptr<Service> kept);
  void fence_some(std::vector<Session*> all);

  Loop& loop_;
  const std::shared_ptr<const ServiceParts> parts_;
  Gate gate_;
  Upstream upstream_;
  Pool pool_;
  HealthChecks health_;
  std::unique_ptr<postgres::ServerPool> servers_;  // null: sessions share none
  SessionHost host_;
  std::unordered_set<SessionRecord*> records_;
  std::size_t admitted_ = 0;  // connections that were accepted, and haven't ended
  // In which what waits to be accepted came; in a later one nobody knows whether it did.
  Fence::Epoch epoch_ = loop_.fence().now();
  bool all_taken_ = true;    // of those that waited then
  std::size_t fencing_ = 0;  // parts of it that are to come
  bool half_fenced_ = false;
  Traffic ended_;  // of applications' connections
  std::deque<Listener> listeners_;
  std::chrono::steady_clock::time_point say_again_;
};

// A socket that listens at the address; for TCP one of several that do.
Result<UniqueFd> listen_at(const Address& address);
// A Unix socket's file that nobody listens at any more is in the way of the next who does.
Status remove_dead_socket(const Address& address);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SERVICE_SERVICE_H_
