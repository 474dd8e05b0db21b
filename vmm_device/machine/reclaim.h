#ifndef CLONESAFE_VMM_DEVICE_MACHINE_RECLAIM_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_RECLAIM_H_

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "vmm_device/virtio/balloon_device.h"

namespace clonesafe {

// What came of it.
struct Reclaimed {
  std::uint64_t pages = 0;  // that the guest gave, and has again
  std::string lacks;        // why it is nothing, or less than was asked for; else empty
  bool deflated = true;     // false: some are still in the balloon
};

// Has a running guest put its free memory into the balloon, where it becomes zeros, and take all of
// it back: what the guest once wrote to it is then in no snapshot.
//
// At most 80 % of what the guest calls available, and no more than is free: neither shall it be
// short of memory, nor lose what it caches. All on the device's thread.
class Reclaim {
 public:
  using Done = std::function<void(Reclaimed)>;
  static constexpr std::uint64_t kPercent = 80;

  Reclaim(boost::asio::io_context& io, virtio::BalloonDevice& balloon);
  Reclaim(const Reclaim&) = delete;
  Reclaim& operator=(const Reclaim&) = delete;
  ~Reclaim() { balloon_.set_observer({}); }

  // Takes at most `time`: half of it to inflate, the rest to deflate. A guest that stops giving
  // before it gave all is not waited for. `done` comes once, at once or later.
  void start(std::chrono::milliseconds time, Done done);

 private:
  using Clock = std::chrono::steady_clock;
  enum class Phase { kIdle, kAsking, kInflating, kDeflating };

  void changed();
  void inflate();
  void deflate();
  void finish();
  void wait_until(Clock::time_point when);
  void expired();

  virtio::BalloonDevice& balloon_;
  boost::asio::steady_timer timer_;
  Done done_;
  Phase phase_ = Phase::kIdle;
  Reclaimed result_;
  std::uint64_t statistics_before_ = 0;
  std::uint32_t target_ = 0;
  std::uint32_t most_ = 0;  // pages that were in the balloon
  std::chrono::milliseconds stall_{0};
  Clock::time_point inflated_by_;
  Clock::time_point deflated_by_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_RECLAIM_H_
