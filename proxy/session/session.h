// session: what every protocol's sessions have in common: who looks after them, and what they are
// given.
#ifndef CLONESAFE_PROXY_SESSION_SESSION_H_
#define CLONESAFE_PROXY_SESSION_SESSION_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <unordered_set>

#include "proxy/config/config.h"
#include "proxy/core/loop.h"
#include "proxy/upstream/pool.h"
#include "proxy/upstream/proxy_header.h"
#include "proxy/upstream/upstream.h"

namespace clonesafe::proxy {

namespace postgres {
class Shared;
}

struct ServiceCounts {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;   // there were too many sessions
  std::uint64_t failed = 0;    // no upstream could be reached
  std::uint64_t fenced = 0;    // upstream connections that a clone abandoned
  std::uint64_t reopened = 0;  // sessions that went on with another one
};

class Session;

// Who a session is for.
struct Client {
  Endpoint from;
  // What an upstream connection of its begins with; empty: nothing.
  std::string preface;
};

// What a session has of its service, on its thread.
struct SessionHost {
  Loop& loop;
  const ServiceConfig& config;
  Upstream& upstream;
  Pool& pool;
  const TlsContext* listen_tls = nullptr;  // for protocols that ask for it
  postgres::Shared* postgres = nullptr;
  ServiceCounts counts = {};
  std::unordered_set<Session*> sessions = {};
};

// One application's connection, seen by who looks after all of them.
class Session {
 public:
  explicit Session(SessionHost& host) : host_(host) { host_.sessions.insert(this); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() { host_.sessions.erase(this); }

  // The machine was cloned, some time ago: what is stale goes, without a word.
  virtual void fenced() = 0;
  // Ends it with an error for the application.
  virtual void reset() = 0;
  // From time to time, for limits of its protocol's own.
  virtual void look(std::chrono::steady_clock::time_point /*now*/) {}
  // When a byte was last carried.
  std::chrono::steady_clock::time_point last_used() const { return last_used_; }

 protected:
  SessionHost& host() const { return host_; }
  void use() { last_used_ = std::chrono::steady_clock::now(); }

 private:
  SessionHost& host_;
  std::chrono::steady_clock::time_point last_used_ = std::chrono::steady_clock::now();
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SESSION_SESSION_H_
