#ifndef CLONESAFE_PROXY_UPSTREAM_CONNECTION_LIMIT_H_
#define CLONESAFE_PROXY_UPSTREAM_CONNECTION_LIMIT_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "proxy/core/fence.h"
#include "proxy/core/line.h"
#include "proxy/core/stream.h"

namespace clonesafe::proxy {

// How many connections to an upstream a thread may have, and who waits for one. Those of an earlier
// generation are the parent's, and count no more. Not thread-safe.
class ConnectionLimit {
  struct State;

 public:
  // Of one connection, from before it is opened; given back when its last copy goes.
  class Permit {
   public:
    Permit(std::shared_ptr<State> state, Fence::Epoch epoch)
        : state_(std::move(state)), epoch_(epoch) {
      ++state_->used;
    }
    Permit(const Permit&) = delete;
    Permit& operator=(const Permit&) = delete;
    ~Permit() {
      if (counts()) {
        --(local_ ? state_->used_here : state_->used);
        state_->line.call();
      }
    }
    // Of a connection in this machine, which is cloned together with its other end.
    void stays_here() {
      if (local_ || !counts()) return;
      local_ = true;
      --state_->used;
      ++state_->used_here;
    }

   private:
    bool counts() const { return local_ || epoch_ == state_->epoch; }

    const std::shared_ptr<State> state_;
    const Fence::Epoch epoch_;
    bool local_ = false;
  };
  using PermitPointer = std::shared_ptr<Permit>;

  // Somebody who waits, and takes a connection that another one needs no more as well.
  class Seeker : public Line::Waiter {
   public:
    Seeker(ConnectionLimit& limit, Loop& loop, std::string_view key)
        : Waiter(limit.state_->line, loop), key_(key) {}
    std::shared_ptr<Stream> take() { return std::exchange(given_, nullptr); }

   private:
    friend class ConnectionLimit;
    const std::string_view key_;
    std::shared_ptr<Stream> given_;
  };

  // 0: none.
  explicit ConnectionLimit(std::uint32_t most) : most_(most), state_(std::make_shared<State>()) {}

  bool limited() const { return most_ != 0; }
  bool full() const { return limited() && state_->used + state_->used_here >= most_; }
  bool awaited() const { return !state_->line.empty(); }
  PermitPointer take() { return std::make_shared<Permit>(state_, state_->epoch); }

  // To whoever is first in line, if it is for that; false: nobody takes it.
  bool give(const std::shared_ptr<Stream>& stream, std::string_view key) {
    // Only seekers wait in it.
    auto* const seeker = static_cast<Seeker*>(state_->line.first());
    if (seeker == nullptr || seeker->key_ != key) return false;
    seeker->given_ = stream;
    seeker->call();
    seeker->leave();
    return true;
  }

  // A new generation.
  void turn(Fence::Epoch epoch) {
    if (state_->epoch == epoch) return;
    state_->epoch = epoch;
    state_->used = 0;
    state_->line.call();
  }

 private:
  struct State {
    Fence::Epoch epoch = 0;
    std::uint64_t used = 0;       // of this generation
    std::uint64_t used_here = 0;  // by connections that are never stale
    Line line;
  };

  const std::uint32_t most_;
  const std::shared_ptr<State> state_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_CONNECTION_LIMIT_H_
