// service: what listens, and the sessions of those who connect.
#ifndef CLONESAFE_PROXY_SERVICE_SESSION_H_
#define CLONESAFE_PROXY_SERVICE_SESSION_H_

#include <chrono>

namespace clonesafe::proxy {

// One application's connection, seen by who looks after all of them.
class Session {
 public:
  virtual ~Session() = default;
  // The machine was cloned, some time ago: what is stale goes, without a word.
  virtual void fenced() = 0;
  // Looked at now and then, for its limits.
  virtual void look(std::chrono::steady_clock::time_point now) = 0;
  // Ends it with an error for the application.
  virtual void reset() = 0;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SERVICE_SESSION_H_
