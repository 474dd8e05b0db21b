#ifndef CLONESAFE_PROXY_CORE_TOMBSTONES_H_
#define CLONESAFE_PROXY_CORE_TOMBSTONES_H_

#include <array>
#include <boost/circular_buffer.hpp>
#include <chrono>
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "proxy/core/farewell.h"

namespace clonesafe::proxy {

// What stands where stale sockets stood. Without it the kernel answers a peer that goes on sending
// with a reset, which ends the connection for the machine that goes on using it. A tombstone is a
// socket too, and drops whatever reaches it. It never sends, in a clone of this machine neither.
//
// Also knows who holds a socket that may become stale, so that none is forgotten. Not thread-safe.
class Tombstones {
 public:
  using Clock = std::chrono::steady_clock;

  // Longer than Linux tries to reach a silent peer: it sends a segment again for 15 minutes, and
  // first asks after two hours whether an idle peer is there still.
  static constexpr std::chrono::hours kStand{3};

  // A part of the descriptors that this process may have, for each of its threads that use this.
  static std::size_t limit_for(std::size_t threads);

  explicit Tombstones(std::size_t limit = limit_for(1))
      : limit_(limit), standing_(limit), left_(limit) {
    keep_spare();
  }

  // Closes the socket of a stale connection, and sets a tombstone if it can. With too many of them
  // the oldest goes. Never call shutdown(2) before: it sends. Takes no memory.
  Farewell bury(int fd, Opener opener);
  // The same, but only what can't wait is done now: whoever left it is about to open another.
  Farewell leave(int fd, Opener opener);
  bool has_left() const { return !left_.empty(); }
  // So many of those that were left at most.
  void bury_left(std::size_t most);
  // Those whose time is over go.
  void look(Clock::time_point now);

  struct Counts {
    std::size_t standing = 0;
    std::uint64_t dropped = 0;  // segments, so far

    Counts& operator+=(const Counts& other) {
      standing += other.standing;
      dropped += other.dropped;
      return *this;
    }
  };
  Counts counts() const;

  // Who has a socket that may become stale.
  class Holder {
   public:
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    // Buries it, if it is.
    virtual void leave_stale() = 0;

   protected:
    explicit Holder(Tombstones* tombstones) : tombstones_(tombstones) {
      if (tombstones_ != nullptr) tombstones_->holders_.insert(this);
    }
    ~Holder() {
      if (tombstones_ != nullptr) tombstones_->holders_.erase(this);
    }
    Tombstones* tombstones() const { return tombstones_; }

   private:
    Tombstones* const tombstones_;
  };
  std::vector<Holder*> holders() const { return {holders_.begin(), holders_.end()}; }
  bool has(Holder* holder) const { return holders_.contains(holder); }

 private:
  struct Tombstone {
    UniqueFd socket;
    Clock::time_point since;
  };

  struct Left {
    UniqueFd socket;
    Opener opener;
  };

  void remove_oldest();
  void keep_spare();

  const std::size_t limit_;
  // What it takes to bury one where the process may have no more descriptors.
  std::array<UniqueFd, 2> spare_;
  boost::circular_buffer<Tombstone> standing_;  // the oldest is first
  boost::circular_buffer<Left> left_;           // silent, and not buried yet
  std::uint64_t dropped_ = 0;                   // by those that are gone
  std::unordered_set<Holder*> holders_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_TOMBSTONES_H_
