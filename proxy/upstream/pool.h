#ifndef CLONESAFE_PROXY_UPSTREAM_POOL_H_
#define CLONESAFE_PROXY_UPSTREAM_POOL_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/config.h"
#include "proxy/core/stream.h"

namespace clonesafe::proxy {

// Connections to one upstream that wait for their next use, on one thread. What is given out is of
// this generation, open, and has nothing to read. Not thread-safe.
class Pool {
 public:
  using Clock = std::chrono::steady_clock;

  // `config` outlives it.
  explicit Pool(const UpstreamConfig& config) : config_(config) {}

  // The one that was used last among those that were kept with the same key; null: none. To be
  // written to before anything is waited for.
  std::shared_ptr<Stream> take(std::string_view key);
  // Nobody else uses it any more. Beyond the limit the oldest one is closed.
  void keep(std::shared_ptr<Stream> stream, std::string_view key);

  // All of them, to be parted from.
  std::vector<std::shared_ptr<Stream>> take_all();

  // Lets go of what is of an earlier generation, without a word.
  void fence();
  // Closes what has waited too long, and what the upstream has closed.
  void look(Clock::time_point now);

  // How many were let go of, so far, because the machine was cloned.
  std::uint64_t fenced() const { return fenced_; }

 private:
  struct Idle {
    std::shared_ptr<Stream> stream;
    std::string key;
    Clock::time_point since;
  };

  void close(Stream& stream);

  const UpstreamConfig& config_;
  std::uint64_t fenced_ = 0;
  std::deque<Idle> idle_;  // the one that was used last is at the end
  Clock::time_point looked_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_POOL_H_
