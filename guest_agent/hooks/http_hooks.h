#ifndef CLONESAFE_GUEST_AGENT_HOOKS_HTTP_HOOKS_H_
#define CLONESAFE_GUEST_AGENT_HOOKS_HTTP_HOOKS_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "guest_agent/hooks/hooks.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::agent {

// A program of this machine that is told by HTTP: POST to a port of the loopback interface.
struct HttpHook {
  std::string name;
  std::uint16_t port = 0;
  std::string before_snapshot;  // path; empty: it is not told
  std::string after_restore;
  std::chrono::milliseconds deadline{10'000};

  const std::string& path(HookPhase phase) const {
    return phase == HookPhase::kBeforeSnapshot ? before_snapshot : after_restore;
  }
};

// All of them, one after another; before a snapshot in reverse. Whatever is not a 2xx answer within
// the deadline is a failure.
class HttpHooks final : public Hooks {
 public:
  HttpHooks(boost::asio::io_context& io, std::vector<HttpHook> hooks);
  ~HttpHooks() override;

  bool any(const HookEvent& event) override;
  void run(const HookEvent& event, Done done) override;
  void cancel() override;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HOOKS_HTTP_HOOKS_H_
