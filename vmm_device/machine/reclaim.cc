#include "vmm_device/machine/reclaim.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <limits>
#include <utility>

namespace clonesafe {
namespace {

// A guest that gives nothing for this part of the time will give no more.
constexpr int kStallParts = 8;

std::string milliseconds(std::chrono::milliseconds time) {
  return std::to_string(time.count()) + " ms";
}

}  // namespace

Reclaim::Reclaim(boost::asio::io_context& io, virtio::BalloonDevice& balloon)
    : balloon_(balloon), timer_(io) {
  balloon_.set_observer([this] { changed(); });
}

void Reclaim::start(std::chrono::milliseconds time, Done done) {
  done_ = std::move(done);
  result_ = {};
  most_ = 0;
  target_ = 0;
  stall_ = time / kStallParts;
  inflated_by_ = Clock::now() + time / 2;
  deflated_by_ = Clock::now() + time;
  if (!balloon_.active()) {
    result_.lacks = "the guest has no driver for the balloon";
  } else if (balloon_.poison() != 0) {
    // They would be in the snapshot all the same.
    result_.lacks = "the guest fills free pages with a pattern";
  } else {
    statistics_before_ = balloon_.statistics_told();
    if (!balloon_.ask_statistics()) result_.lacks = "the guest's driver tells no statistics";
  }
  if (!result_.lacks.empty()) return finish();
  phase_ = Phase::kAsking;
  wait_until(Clock::now() + stall_);
}

void Reclaim::changed() {
  if (phase_ == Phase::kIdle) return;
  if (!balloon_.active()) {
    result_.lacks = "the guest's driver of the balloon went away";
    return finish();
  }
  most_ = std::max(most_, balloon_.pages());
  switch (phase_) {
    case Phase::kAsking:
      if (balloon_.statistics_told() != statistics_before_) inflate();
      break;
    case Phase::kInflating:
      if (balloon_.pages() >= target_) return deflate();
      wait_until(std::min(Clock::now() + stall_, inflated_by_));
      break;
    default:
      if (balloon_.pages() == 0) finish();
      break;
  }
}

void Reclaim::inflate() {
  const virtio::BalloonStatistics& told = balloon_.statistics();
  if (!told.free || !told.available) {
    result_.lacks = "the guest's driver doesn't tell how much memory is available";
    return finish();
  }
  // A number of the guest's: nothing may overflow.
  const std::uint64_t bytes = std::min(*told.free, *told.available / 100 * kPercent);
  const std::uint64_t pages = bytes / virtio::balloon::kPageSize;
  target_ = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(pages, balloon_.memory_pages() / 100 * kPercent));
  if (target_ == 0) return deflate();
  phase_ = Phase::kInflating;
  balloon_.set_target(target_);
  wait_until(std::min(Clock::now() + stall_, inflated_by_));
}

void Reclaim::deflate() {
  phase_ = Phase::kDeflating;
  balloon_.set_target(0);
  if (balloon_.pages() == 0) return finish();
  wait_until(deflated_by_);
}

void Reclaim::finish() {
  timer_.cancel();
  phase_ = Phase::kIdle;
  // A driver that comes later finds nothing asked of it.
  if (balloon_.target() != 0) balloon_.set_target(0);
  result_.pages = most_;
  if (result_.lacks.empty() && most_ < target_)
    result_.lacks = "the guest gave " + std::to_string(most_) + " pages of the " +
                    std::to_string(target_) + " that were asked for";
  result_.deflated = !balloon_.active() || balloon_.pages() == 0;
  std::exchange(done_, {})(std::move(result_));
}

void Reclaim::wait_until(Clock::time_point when) {
  timer_.expires_at(when);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) expired();
  });
}

void Reclaim::expired() {
  switch (phase_) {
    case Phase::kIdle:
      return;
    case Phase::kAsking:
      result_.lacks = "the guest told no statistics within " + milliseconds(stall_);
      return finish();
    case Phase::kInflating:
      return deflate();
    case Phase::kDeflating:
      result_.lacks = "the guest has not taken back " + std::to_string(balloon_.pages()) +
                      " pages of the balloon";
      return finish();
  }
}

}  // namespace clonesafe
