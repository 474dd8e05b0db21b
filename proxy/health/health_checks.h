#ifndef CLONESAFE_PROXY_HEALTH_HEALTH_CHECKS_H_
#define CLONESAFE_PROXY_HEALTH_HEALTH_CHECKS_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/config/config.h"
#include "proxy/core/loop.h"
#include "proxy/core/stream.h"
#include "proxy/upstream/upstream.h"

namespace clonesafe::proxy {

// Asks each address of an upstream from time to time, and tells the upstream which are down, on one
// thread. What the parent of a clone found, or began to ask, says nothing. Has no timer of its own.
class HealthChecks {
 public:
  using Clock = std::chrono::steady_clock;

  // All outlive it; without `check` in the configuration it does nothing. `name` is for the log.
  HealthChecks(Loop& loop, const std::string& name, const UpstreamConfig& config,
               Upstream& upstream);

  // The addresses that are to be asked now.
  std::vector<std::size_t> due(Clock::time_point now);
  Awaitable<void> ask(std::size_t address);

  // A snapshot was announced: what is under way ends, and says nothing.
  void stop();

  std::uint64_t asked() const { return asked_; }
  std::uint64_t failed() const { return failed_; }

 private:
  struct State {
    Clock::time_point next = {};
    std::uint32_t against = 0;  // answers in a row that speak against what it is taken for
    bool asking = false;
    std::shared_ptr<Stream> stream = nullptr;  // by which it is asked now
  };

  void turn_generation(Clock::time_point now);
  Awaitable<Status> ask_once(std::size_t address);
  void note(std::size_t address, const Status& answer);

  Loop& loop_;
  const std::string& name_;
  const UpstreamConfig& config_;
  Upstream& upstream_;
  Fence::Epoch epoch_ = 0;
  std::uint64_t asked_ = 0, failed_ = 0;
  std::uint64_t stopped_ = 0;  // how often stop() was called
  std::vector<State> states_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_HEALTH_HEALTH_CHECKS_H_
