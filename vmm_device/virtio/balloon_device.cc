#include "vmm_device/virtio/balloon_device.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace clonesafe::virtio {
namespace {

// Inflate, deflate, statistics, then free page reporting: queue 4, or as Linux has it the first
// that is free (queues_needed()).
constexpr std::array<std::uint16_t, 5> kQueueSizes = {64, 64, 8, 64, 64};

// What one call may do, so that a pause or a reset doesn't wait for long.
constexpr int kMaxRequests = 256;
constexpr std::size_t kMaxNumbers = 4096;
constexpr std::uint64_t kMaxReported = std::uint64_t{64} << 20;

constexpr std::size_t kMaxStatistics = 64;

std::optional<std::uint64_t>* place_of(BalloonStatistics& statistics, std::uint16_t tag) {
  switch (tag) {
    case balloon::kStatisticFree:
      return &statistics.free;
    case balloon::kStatisticTotal:
      return &statistics.total;
    case balloon::kStatisticAvailable:
      return &statistics.available;
    case balloon::kStatisticCaches:
      return &statistics.caches;
    default:
      return nullptr;
  }
}

}  // namespace

std::uint64_t BalloonDevice::features() const {
  // No event indexes: the driver of the statistics queue would wait for one that only moves when
  // somebody asks.
  return kFeatureIndirectDescriptors | balloon::kFeatureStatistics | balloon::kFeatureDeflateOnOom |
         balloon::kFeaturePagePoison | (options_.reporting ? balloon::kFeaturePageReporting : 0);
}

std::span<const std::uint16_t> BalloonDevice::queue_sizes() const {
  return kQueueSizes;
}

// 5.5.2 gives each queue its number, but Linux's driver has long left no gap for a queue that isn't
// there. So which one reports is seen from what the driver set up.
std::size_t BalloonDevice::queues_needed(std::uint64_t driver_features) const {
  return (driver_features & balloon::kFeatureStatistics) != 0 ? 3 : 2;
}

void BalloonDevice::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  const balloon::Config config{
      .num_pages = target_, .actual = actual_, .free_page_hint_cmd_id = 0, .poison_val = poison_};
  const auto bytes = std::as_bytes(std::span(&config, 1));
  if (offset >= bytes.size()) return;
  const auto there = bytes.subspan(static_cast<std::size_t>(offset));
  std::memcpy(data.data(), there.data(), std::min(data.size(), there.size()));
}

void BalloonDevice::write_config(std::uint64_t offset, std::span<const std::byte> data) {
  // 4.2.2.2: a field is written whole.
  std::uint32_t value = 0;
  if (data.size() != sizeof value) return;
  std::memcpy(&value, data.data(), sizeof value);
  if (offset == offsetof(balloon::Config, actual)) {
    actual_ = value;
    // The observer hears of it on the device thread.
    host_->again(balloon::kInflateQueue);
  } else if (offset == offsetof(balloon::Config, poison_val)) {
    poison_ = value;
  }
}

void BalloonDevice::activated(Activation) {
  active_ = true;
  tell();
}

void BalloonDevice::reset() {
  active_ = false;
  actual_ = 0;
  poison_ = 0;
  told_pages_ = 0;
  statistics_wanted_ = false;
  inflated_bytes_ = 0;
  reported_bytes_ = 0;
  tell();
}

void BalloonDevice::tell() const {
  if (changed_) changed_();
}

void BalloonDevice::set_target(std::uint32_t pages) {
  target_ = pages;
  if (const QueueLease lease(host_); lease) lease.config_changed();
}

// The driver keeps one buffer in the queue. To give it back is to ask for new figures (5.5.6.3).
bool BalloonDevice::ask_statistics() {
  const QueueLease lease(host_);
  if (!lease || (lease.driver_features() & balloon::kFeatureStatistics) == 0) return false;
  Queue& queue = lease.queue(balloon::kStatisticsQueue);
  auto popped = queue.pop(chain_);
  if (!popped) {
    lease.fail(popped.error());
    return false;
  }
  // Without one, the driver is about to answer an earlier question.
  if (*popped) queue.push(chain_, 0);
  statistics_wanted_ = true;
  return true;
}

void BalloonDevice::notified(std::size_t index) {
  {
    const QueueLease lease(host_);
    if (!lease || !lease.has_queue(index)) return;
    const std::uint64_t features = lease.driver_features();
    if (index == balloon::kInflateQueue) {
      inflate(lease);
    } else if (index == balloon::kDeflateQueue) {
      deflate(lease);
    } else if (index == balloon::kStatisticsQueue &&
               (features & balloon::kFeatureStatistics) != 0) {
      take_statistics(lease);
    } else if ((features & balloon::kFeaturePageReporting) != 0) {
      report(lease, index);
    }
  }
  // Without the lease: the observer may want one.
  const std::uint32_t pages = actual_;
  const bool other_pages = std::exchange(told_pages_, pages) != pages;
  if (std::exchange(statistics_news_, false) || other_pages) tell();
}

void BalloonDevice::inflate(const QueueLease& lease) {
  Queue& queue = lease.queue(balloon::kInflateQueue);
  std::size_t room = kMaxNumbers;
  for (int requests = 0; requests < kMaxRequests && room != 0; ++requests) {
    auto popped = queue.pop(chain_);
    if (!popped) return lease.fail(popped.error());
    if (!*popped) return;
    if (chain_.writable_size != 0 || chain_.readable_size % sizeof(std::uint32_t) != 0)
      return lease.fail(Error("a balloon request that is not a list of page numbers"));
    const std::size_t left =
        (chain_.readable_size - std::min<std::uint64_t>(inflated_bytes_, chain_.readable_size)) /
        sizeof(std::uint32_t);
    const std::size_t count = std::min(left, room);
    room -= count;
    numbers_.resize(count);
    chain_.read(static_cast<std::uint32_t>(inflated_bytes_),
                std::as_writable_bytes(std::span(numbers_)));
    // Before the driver hears that they were taken.
    discard_numbers();
    if (count < left) {
      inflated_bytes_ += count * sizeof(std::uint32_t);
      queue.undo_pop();
      break;
    }
    inflated_bytes_ = 0;
    queue.push(chain_, 0);
  }
  lease.again(balloon::kInflateQueue);
}

void BalloonDevice::discard_numbers() {
  const auto keep = kept();
  const GuestMemory& memory = discard_.memory();
  const std::size_t asked = numbers_.size();
  std::ranges::sort(numbers_);
  const auto [first_repeated, end] = std::ranges::unique(numbers_);
  numbers_.erase(first_repeated, end);
  const auto address = [](std::uint64_t number) {
    return GuestAddress(number * balloon::kPageSize);
  };
  std::uint64_t there = 0;
  for (std::size_t at = 0; at < numbers_.size();) {
    const std::uint64_t first = numbers_[at];
    std::uint64_t pages = 0;
    while (at < numbers_.size() && numbers_[at] == first + pages &&
           memory.at(address(numbers_[at]), balloon::kPageSize)) {
      ++pages;
      ++at;
    }
    if (pages == 0) {  // not in the guest's memory
      ++at;
      continue;
    }
    there += pages;
    if (const auto run = memory.at(address(first), pages * balloon::kPageSize))
      counts_.discarded += discard_.discard(*run, keep);
  }
  counts_.inflated += there;
  counts_.refused += asked - there;
}

// Nothing to do for them: a page that was discarded is there when it is touched.
void BalloonDevice::deflate(const QueueLease& lease) {
  Queue& queue = lease.queue(balloon::kDeflateQueue);
  for (int requests = 0; requests < kMaxRequests; ++requests) {
    auto popped = queue.pop(chain_);
    if (!popped) return lease.fail(popped.error());
    if (!*popped) return;
    counts_.deflated += chain_.readable_size / sizeof(std::uint32_t);
    queue.push(chain_, 0);
  }
  lease.again(balloon::kDeflateQueue);
}

void BalloonDevice::take_statistics(const QueueLease& lease) {
  if (!statistics_wanted_) return;
  Queue& queue = lease.queue(balloon::kStatisticsQueue);
  auto popped = queue.pop(chain_);
  if (!popped) return lease.fail(popped.error());
  if (!*popped) return;
  BalloonStatistics told;
  for (std::size_t at = 0; at < kMaxStatistics; ++at) {
    balloon::Statistic statistic{};
    if (!chain_.read(static_cast<std::uint32_t>(at * sizeof statistic),
                     std::as_writable_bytes(std::span(&statistic, 1))))
      break;
    if (auto* place = place_of(told, statistic.tag)) *place = std::uint64_t{statistic.value};
  }
  // It stays in the queue until the next question.
  queue.undo_pop();
  statistics_wanted_ = false;
  statistics_ = told;
  ++statistics_told_;
  statistics_news_ = true;
}

void BalloonDevice::report(const QueueLease& lease, std::size_t index) {
  Queue& queue = lease.queue(index);
  const auto keep = kept();
  std::uint64_t left = kMaxReported;
  for (int requests = 0; requests < kMaxRequests && left != 0; ++requests) {
    auto popped = queue.pop(chain_);
    if (!popped) return lease.fail(popped.error());
    if (!*popped) return;
    if (chain_.readable_size != 0)
      return lease.fail(Error("a report of free pages that is not writable"));
    std::uint64_t skip = reported_bytes_;
    bool all = true;
    for (auto part : chain_.writable) {
      const std::uint64_t skipped = std::min<std::uint64_t>(skip, part.size());
      skip -= skipped;
      part = part.subspan(skipped);
      if (part.empty()) continue;
      if (left == 0) {
        all = false;
        break;
      }
      const auto now = part.first(std::min<std::uint64_t>(left, part.size()));
      left -= now.size();
      reported_bytes_ += now.size();
      counts_.reported += now.size() / balloon::kPageSize;
      // 5.5.6.7: what was filled with another value must keep it.
      if (poison_ == 0) counts_.discarded += discard_.discard(now, keep);
      if (now.size() < part.size()) {
        all = false;
        break;
      }
    }
    if (!all) {
      queue.undo_pop();
      break;
    }
    reported_bytes_ = 0;
    queue.push(chain_, 0);
  }
  lease.again(index);
}

std::vector<std::uint64_t> BalloonDevice::kept() const {
  return options_.kept ? options_.kept() : std::vector<std::uint64_t>();
}

void BalloonDevice::save(StateEncoder& encoder) const {
  encoder.put(target_.load());
  encoder.put(actual_.load());
  encoder.put(poison_.load());
}

Status BalloonDevice::restore(StateDecoder& decoder) {
  std::uint32_t values[3];
  for (std::uint32_t& value : values) {
    auto read = decoder.get<std::uint32_t>();
    if (!read) return fail(std::move(read).error());
    value = *read;
  }
  if (values[0] > memory_pages_)
    return decoder.corrupt("a balloon of " + std::to_string(values[0]) +
                           " pages, the machine has " + std::to_string(memory_pages_));
  target_ = values[0];
  actual_ = values[1];
  poison_ = values[2];
  return {};
}

}  // namespace clonesafe::virtio
