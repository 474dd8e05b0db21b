#ifndef CLONESAFE_GUEST_AGENT_CORE_EVENT_LOOP_H_
#define CLONESAFE_GUEST_AGENT_CORE_EVENT_LOOP_H_

#include <memory>

#include "guest_agent/core/agent.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::agent {

// Timers on the event loop.
class LoopTimers : public Timers {
 public:
  explicit LoopTimers(boost::asio::io_context& io) : io_(io) {}
  void after(std::chrono::milliseconds delay, std::function<void()> run) override;

 private:
  boost::asio::io_context& io_;
};

// Calls `look` (with the source's name) whenever a source's descriptor wakes, and, as long as
// nothing can wake the agent, every `poll_interval`.
class Wakes {
 public:
  struct Options {
    std::chrono::milliseconds poll_interval;
    // Whether something beyond the sources, like a connection that a restore breaks, is there.
    std::function<bool()> other_wake;
    std::function<void(std::string_view)> look;
  };
  Wakes(boost::asio::io_context& io, SourceSet& sources, Options options);
  ~Wakes();
  void start();
  // To be called when other_wake may have changed.
  void reconsider();
  bool polls() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

// Runs `stop` at SIGTERM and SIGINT.
void on_termination(boost::asio::io_context& io, std::function<void()> stop);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CORE_EVENT_LOOP_H_
