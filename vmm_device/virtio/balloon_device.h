#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_BALLOON_DEVICE_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_BALLOON_DEVICE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "vmm_device/core/page_discard.h"
#include "vmm_device/virtio/balloon_abi.h"
#include "vmm_device/virtio/device.h"

namespace clonesafe::virtio {

struct BalloonOptions {
  bool reporting = false;  // free pages, as they become free
  // Guest pages that stay as they are, whoever gives them; ascending. Asked once for each turn.
  std::function<std::vector<std::uint64_t>()> kept = {};
};

// Of the guest, bytes; what its driver tells.
struct BalloonStatistics {
  std::optional<std::uint64_t> free;
  std::optional<std::uint64_t> available;
  std::optional<std::uint64_t> total;
  std::optional<std::uint64_t> caches;
};

// What a balloon did since it was made.
struct BalloonCounts {
  std::uint64_t inflated = 0;   // pages that were put into it
  std::uint64_t deflated = 0;   // and taken out, as the driver said
  std::uint64_t reported = 0;   // pages that were reported free
  std::uint64_t discarded = 0;  // pages of both that were discarded
  std::uint64_t refused = 0;    // not in the guest's memory
};

// The memory balloon (virtio 1.2, 5.5): what the guest puts into it, or reports as free, is
// discarded (PageDiscard) before the driver hears that it was taken. A page that comes back needs
// nothing: it is there when it is touched.
//
// No page is discarded that its guest may use: the driver waits for the answer of the inflate and
// of the reporting queue before it lets a page go. That is not so with hints (FREE_PAGE_HINT),
// where a page may be in use again when its hint is read; they are not offered.
//
// Nothing happens by itself: it works when the guest or set_target() gives it work.
class BalloonDevice final : public VirtioDevice {
 public:
  // `discard` outlives the device.
  BalloonDevice(PageDiscard& discard, std::uint64_t memory_size, BalloonOptions options)
      : discard_(discard),
        memory_pages_(memory_size / balloon::kPageSize),
        options_(std::move(options)) {}

  // All of these on the device thread.
  // Called after pages(), statistics() or active() have changed. May be empty.
  void set_observer(std::function<void()> changed) { changed_ = std::move(changed); }
  bool active() const { return active_; }  // there is a driver
  // Asks the guest for a balloon of so many pages of 4 KiB.
  void set_target(std::uint32_t pages);
  std::uint32_t target() const { return target_; }
  std::uint32_t pages() const { return actual_; }  // that are in it, as the driver says
  // Asks for new statistics; false: the driver tells none.
  bool ask_statistics();
  // The last that came, and how many came.
  const BalloonStatistics& statistics() const { return statistics_; }
  std::uint64_t statistics_told() const { return statistics_told_; }
  // What the guest fills free pages with, if it does.
  std::uint32_t poison() const { return poison_; }
  bool reporting() const { return options_.reporting; }
  std::uint64_t memory_pages() const { return memory_pages_; }  // of the machine
  const BalloonCounts& counts() const { return counts_; }

  std::uint32_t id() const override { return kDeviceIdBalloon; }
  std::uint64_t features() const override;
  std::span<const std::uint16_t> queue_sizes() const override;
  std::size_t queues_needed(std::uint64_t driver_features) const override;
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t offset, std::span<const std::byte> data) override;
  void attach(QueueHost& host) override { host_ = &host; }
  void activated(Activation activation) override;
  void notified(std::size_t queue) override;
  void reset() override;
  void save(StateEncoder& encoder) const override;
  Status restore(StateDecoder& decoder) override;

 private:
  void inflate(const QueueLease& lease);
  void deflate(const QueueLease& lease);
  void take_statistics(const QueueLease& lease);
  void report(const QueueLease& lease, std::size_t index);
  // Those of numbers_.
  void discard_numbers();
  std::vector<std::uint64_t> kept() const;
  void tell() const;

  PageDiscard& discard_;
  const std::uint64_t memory_pages_;
  const BalloonOptions options_;
  QueueHost* host_ = nullptr;
  std::function<void()> changed_;

  // Of the configuration space, which vCPUs read and write.
  std::atomic<std::uint32_t> target_ = 0;
  std::atomic<std::uint32_t> actual_ = 0;
  std::atomic<std::uint32_t> poison_ = 0;

  bool active_ = false;
  std::uint32_t told_pages_ = 0;  // to the observer
  bool statistics_wanted_ = false;
  bool statistics_news_ = false;  // for the observer
  BalloonStatistics statistics_;
  std::uint64_t statistics_told_ = 0;
  // Of the request at the front of each queue: how far earlier turns came.
  std::uint64_t inflated_bytes_ = 0;
  std::uint64_t reported_bytes_ = 0;
  BalloonCounts counts_;
  Chain chain_;
  std::vector<std::uint32_t> numbers_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_BALLOON_DEVICE_H_
