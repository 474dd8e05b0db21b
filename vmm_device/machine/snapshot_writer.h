#ifndef CLONESAFE_VMM_DEVICE_MACHINE_SNAPSHOT_WRITER_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_SNAPSHOT_WRITER_H_

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <thread>

#include "vmm_device/snapshot/image.h"
#include "vmm_device/snapshot/snapshot.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe {

// Writes a snapshot on a thread of its own, so that the event loop goes on: it answers calls, and
// can be told to end. All calls on the io_context's thread; one snapshot at a time. What the
// request points to must not change until `done` was called.
class SnapshotWriter {
 public:
  struct Progress {
    std::uint64_t done = 0;  // bytes of memory
    std::uint64_t total = 0;
  };
  using Done = std::function<void(Result<snapshot::Written>)>;
  using Captured = std::function<void(Result<snapshot::Image>)>;

  explicit SnapshotWriter(boost::asio::io_context& io) : io_(io) {}
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;
  ~SnapshotWriter() { cancel(); }

  // `done` comes on the io_context's thread, and never after give_up().
  void start(const std::filesystem::path& dir, snapshot::WriteRequest request, Done done);
  // The same into memory, for a fork.
  void capture(snapshot::WriteRequest request, Captured done);
  bool busy() const { return thread_.joinable(); }
  Progress progress() const;
  // Gives up what is being written; cancel() returns when nothing of it is left.
  void give_up();
  void cancel();

 private:
  void run(snapshot::WriteRequest request, std::function<void(const snapshot::WriteRequest&)> work);
  void finished();

  boost::asio::io_context& io_;
  std::jthread thread_;
  std::function<void()> done_;
  std::uint64_t round_ = 0;  // a result that was posted before give_up() is of an earlier one
  std::atomic<std::uint64_t> bytes_done_ = 0;
  std::uint64_t bytes_total_ = 0;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_SNAPSHOT_WRITER_H_
