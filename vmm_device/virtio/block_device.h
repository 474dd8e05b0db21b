#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_BLOCK_DEVICE_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_BLOCK_DEVICE_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/block/disk.h"
#include "vmm_device/core/line_limit.h"
#include "vmm_device/virtio/block_request.h"
#include "vmm_device/virtio/device.h"

namespace clonesafe::virtio {

// What a disk did since its device was made.
struct BlockCounts {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t discards = 0;  // and writes of zeroes
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t errors = 0;  // of the host: the guest was told an I/O error
  std::uint64_t held = 0;    // flushes that waited for release()
};

// The block device (virtio 1.2, 5.2), with one request queue.
//
// Requests are done by a thread of its own, in the order of the queue, so that neither a vCPU nor
// the device thread waits for a disk. It takes at most kBatch at a time; they are answered before a
// pause or a reset ends, so a snapshot has none in flight: what was taken is done, what was not is
// still in the queue, and none is done twice.
//
// While its flushes are held, they wait, and so do writes of a driver that knows of no flush; other
// requests are done. They alone are in flight then, so that no snapshot may be taken.
//
// A write may stay in the host's page cache until the driver asks for a flush. Errors of the host
// are the guest's, are counted, and are logged, at most one a second.
class BlockDevice final : public VirtioDevice {
 public:
  static constexpr std::size_t kBatch = 32;

  // `name` stands in messages ("disk 0").
  BlockDevice(std::string name, clonesafe::block::Disk disk, std::string serial);
  ~BlockDevice() override { end(); }

  // Starts its thread, which calls `started` first; an error of that is start()'s. Before this,
  // requests are done on whichever thread notifies.
  Status start(const std::function<Status(const std::string& name)>& started);
  // Before start(): no flush is done, nor answered, until release(). That may be on any thread.
  void hold_flushes() { holds_ = true; }
  void release();
  // Whether a flush waits. While it is paused.
  bool flush_waits() const { return !waiting_.empty(); }

  // Ends the thread, for good, and puts what was written on the disk. Call it before the transport
  // goes.
  void end();

  // Puts what was written on the disk. While it is paused.
  Status flush() { return disk_.flush(); }
  // While it is paused.
  const clonesafe::block::Disk& disk() const { return disk_; }
  const std::string& name() const { return name_; }
  const std::string& serial() const { return options_.serial; }
  BlockCounts counts() const;

  std::uint32_t id() const override { return kDeviceIdBlock; }
  std::uint64_t features() const override;
  std::span<const std::uint16_t> queue_sizes() const override;
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void attach(QueueHost& host) override { host_ = &host; }
  void activated(Activation) override {}
  void notified(std::size_t queue) override;
  bool notified_on_any_thread() const override { return true; }
  int notification_event() const override { return event_.get(); }
  void stop_work() override;
  void continue_work() override;
  void forget_chains() override { waiting_.clear(); }
  void reset() override {}
  void save(StateEncoder&) const override {}
  Status restore(StateDecoder&) override { return {}; }

 private:
  struct Taken {
    Chain chain;
    std::optional<blk::Answer> answer;
  };

  void run();
  void ring();
  void work();
  std::size_t take();
  bool serve(std::span<Taken> batch);
  bool serve_waiting();
  bool answer(std::span<const Taken> done);
  void count(const blk::Answer& answer);
  void log(const Error& error);

  const std::string name_;
  clonesafe::block::Disk disk_;
  blk::RequestOptions options_;
  blk::Config config_{};
  QueueHost* host_ = nullptr;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool working_ = false;  // mutex_, and the two below
  bool ended_ = false;
  unsigned stops_ = 0;
  std::atomic<bool> stopped_ = false;  // stops_ != 0, read between two batches
  UniqueFd event_;                     // an eventfd, which the thread reads; there once it runs
  std::thread thread_;

  std::atomic<bool> holds_ = false;

  // Of whoever works.
  std::vector<Taken> batch_;
  std::vector<Taken> waiting_;  // flushes that are held, at most what the queue has
  LineLimit lines_;

  struct {
    std::atomic<std::uint64_t> reads, writes, flushes, discards, read_bytes, written_bytes, errors,
        held;
  } counts_{};
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_BLOCK_DEVICE_H_
