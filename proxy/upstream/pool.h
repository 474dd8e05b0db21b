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
#include "proxy/upstream/upstream.h"

namespace clonesafe::proxy {

// Connections to one upstream that wait for their next use, on one thread. What is given out is of
// this generation, open, and has nothing to read. Not thread-safe.
class Pool {
 public:
  using Clock = std::chrono::steady_clock;

  // Both outlive it.
  Pool(const UpstreamConfig& config, Upstream& upstream);

  // The one that was used last among those that were kept with the same key; null: none. To be
  // written to before anything is waited for.
  std::shared_ptr<Stream> take(std::string_view key);
  // Nobody else uses it any more. It goes to who waits for one; beyond the limit the oldest one is
  // closed.
  void keep(std::shared_ptr<Stream> stream, std::string_view key);

  // How many are missing from those that shall wait at any time (`min_idle`), beside those that are
  // being opened for that.
  std::size_t missing() const;
  // One of these, as long as it is being opened.
  class Opening {
   public:
    explicit Opening(Pool& pool) : pool_(pool) { ++pool_.opening_; }
    Opening(const Opening&) = delete;
    Opening& operator=(const Opening&) = delete;
    ~Opening() { --pool_.opening_; }

   private:
    Pool& pool_;
  };

  // All of them, to be parted from.
  std::vector<std::shared_ptr<Stream>> take_all();

  // Lets go of what is of an earlier generation, without a word.
  void fence();
  // Closes what has waited or lived too long, and what the upstream has closed.
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
  bool close_oldest();
  bool too_old(const Stream& stream, Clock::time_point now) const;

  const UpstreamConfig& config_;
  Upstream& upstream_;
  std::uint64_t fenced_ = 0;
  std::size_t opening_ = 0;
  std::deque<Idle> idle_;  // the one that was used last is at the end
  Clock::time_point looked_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_POOL_H_
