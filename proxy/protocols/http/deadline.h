#ifndef CLONESAFE_PROXY_PROTOCOLS_HTTP_DEADLINE_H_
#define CLONESAFE_PROXY_PROTOCOLS_HTTP_DEADLINE_H_

#include <chrono>

namespace clonesafe::proxy::http {

// A limit that is looked at from time to time, so that setting it costs no more than a clock.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  void in(std::chrono::milliseconds time) { at_ = Clock::now() + time; }
  void off() { at_ = Clock::time_point::max(); }
  bool over(Clock::time_point now) const { return now > at_; }

 private:
  Clock::time_point at_ = Clock::time_point::max();
};

}  // namespace clonesafe::proxy::http

#endif  // CLONESAFE_PROXY_PROTOCOLS_HTTP_DEADLINE_H_
