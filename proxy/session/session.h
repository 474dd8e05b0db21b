// session: what every protocol's sessions have in common: who looks after them, and what they are
// given.
#ifndef CLONESAFE_PROXY_SESSION_SESSION_H_
#define CLONESAFE_PROXY_SESSION_SESSION_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "proxy/config/config.h"
#include "proxy/core/loop.h"
#include "proxy/core/stream.h"
#include "proxy/session/session_record.h"
#include "proxy/upstream/pool.h"
#include "proxy/upstream/proxy_header.h"
#include "proxy/upstream/upstream.h"

namespace clonesafe::proxy {

class Commands;
namespace postgres {
class ServerPool;
class Shared;
}  // namespace postgres

struct ServiceCounts {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;         // there were too many sessions
  std::uint64_t failed = 0;          // no upstream could be reached
  std::uint64_t fenced = 0;          // upstream connections that a clone abandoned
  std::uint64_t reopened = 0;        // sessions that went on with another one
  std::uint64_t waited = 0;          // for a free upstream connection, or a full server
  std::uint64_t timed_out = 0;       // of these, in vain
  std::uint64_t retried = 0;         // read-only transactions that began again
  std::uint64_t pinned = 0;          // sessions that kept a connection which others could have had
  std::uint64_t tls_handshakes = 0;  // with applications
  std::uint64_t failed_tls_handshakes = 0;

  ServiceCounts& operator+=(const ServiceCounts& other) {
    accepted += other.accepted;
    refused += other.refused;
    failed += other.failed;
    fenced += other.fenced;
    reopened += other.reopened;
    waited += other.waited;
    timed_out += other.timed_out;
    retried += other.retried;
    pinned += other.pinned;
    tls_handshakes += other.tls_handshakes;
    failed_tls_handshakes += other.failed_tls_handshakes;
    return *this;
  }
};

class Session;

// Who a session is for.
struct Client {
  Endpoint from;
  // What an upstream connection of its begins with; empty: nothing.
  std::string preface;
  // Where it meant to go, if the service is transparent.
  std::optional<Address> destination = {};
  bool from_here = false;  // it is in this machine

  // What tells connections apart that may serve each other's applications, and that may not.
  std::string upstream_key() const {
    return destination ? destination->text() + " " + preface : preface;
  }
};

// What a session has of its service, on its thread.
struct SessionHost {
  Loop& loop;
  const ServiceConfig& config;
  Upstream& upstream;
  Pool& pool;
  const TlsContext* listen_tls = nullptr;  // for protocols that ask for it
  const Commands* commands = nullptr;      // null: none can be run
  postgres::Shared* postgres = nullptr;
  postgres::ServerPool* servers = nullptr;  // where sessions share connections
  ServiceCounts counts = {};
  std::unordered_set<Session*> sessions = {};
  SessionRecord* next_record = nullptr;  // of the session that is made next
  std::uint64_t commands_running = 0;    // for logins, each with a secret on its way
};

// Says goodbye in the transport's way, and closes it. For an upstream that nothing is asked of any
// more; whoever reads from it is woken.
Awaitable<void> part_from(std::shared_ptr<Stream> stream);

// One application's connection, seen by who looks after all of them.
class Session {
 public:
  Session(SessionHost& host, Client client)
      : host_(host), client_(std::move(client)), record_(std::exchange(host.next_record, nullptr)) {
    host_.sessions.insert(this);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() { host_.sessions.erase(this); }

  // The machine was cloned, some time ago: what is stale goes, without a word.
  virtual void fenced() = 0;
  // Ends it with an error for the application.
  virtual void reset() = 0;
  // From time to time, for limits of its protocol's own.
  virtual void look(std::chrono::steady_clock::time_point /*now*/) {}
  // A snapshot was announced whose image shall hold no connection: if nothing is under way, the
  // upstream's is closed with a goodbye, and the next is opened when it is needed. Asked again and
  // again until all are gone.
  virtual void park() = 0;
  // Notes why it ends.
  void ends(std::string_view how) {
    if (record_ != nullptr && record_->how.empty()) record_->how = how;
  }
  // When a byte was last carried.
  std::chrono::steady_clock::time_point last_used() const { return last_used_; }

 protected:
  SessionHost& host() const { return host_; }
  const Client& client() const { return client_; }
  // A connection to the upstream, for this client, and who is at its other end if it is a new one;
  // an error was counted and logged. `urgent`: as Upstream::Wish has it; where it is false, a clone
  // ends it, and that is no failure.
  Awaitable<Result<std::shared_ptr<Stream>>> connect(Upstream::Peer* peer = nullptr,
                                                     const bool* urgent = nullptr);
  // Why the last one could not be had, in words for the application.
  std::string why_no_upstream() const { return std::string(why_no_upstream_); }
  void use() { last_used_ = std::chrono::steady_clock::now(); }

 private:
  SessionHost& host_;
  const Client client_;
  SessionRecord* const record_;
  std::string_view why_no_upstream_;
  std::chrono::steady_clock::time_point last_used_ = std::chrono::steady_clock::now();
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SESSION_SESSION_H_
