#include "vmm_device/machine/snapshot_writer.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <memory>
#include <utility>

namespace clonesafe {

void SnapshotWriter::start(const std::filesystem::path& dir, snapshot::WriteRequest request,
                           Done done) {
  const auto result = std::make_shared<Result<snapshot::Written>>(snapshot::Written{});
  done_ = [result, done = std::move(done)] { done(std::move(*result)); };
  run(std::move(request),
      [result, dir](const snapshot::WriteRequest& all) { *result = snapshot::write(dir, all); });
}

void SnapshotWriter::capture(snapshot::WriteRequest request, Captured done) {
  const auto result = std::make_shared<Result<snapshot::Image>>(snapshot::Image{});
  done_ = [result, done = std::move(done)] { done(std::move(*result)); };
  run(std::move(request),
      [result](const snapshot::WriteRequest& all) { *result = snapshot::capture(all); });
}

void SnapshotWriter::run(snapshot::WriteRequest request,
                         std::function<void(const snapshot::WriteRequest&)> work) {
  bytes_total_ = request.memory.total_size();
  bytes_done_ = 0;
  request.progress = [this, wrapped = std::move(request.progress)](std::uint64_t bytes,
                                                                   std::uint64_t total) {
    bytes_done_.store(bytes, std::memory_order_relaxed);
    if (wrapped) wrapped(bytes, total);
  };
  thread_ = std::jthread([this, round = ++round_, request = std::move(request),
                          work = std::move(work)](const std::stop_token& stop) mutable {
    request.stop = stop;
    work(request);
    boost::asio::post(io_, [this, round] {
      if (round == round_) finished();
    });
  });
}

void SnapshotWriter::finished() {
  thread_.join();
  std::exchange(done_, {})();
}

SnapshotWriter::Progress SnapshotWriter::progress() const {
  return {.done = bytes_done_.load(std::memory_order_relaxed), .total = bytes_total_};
}

void SnapshotWriter::give_up() {
  ++round_;
  thread_.request_stop();
}

void SnapshotWriter::cancel() {
  if (!busy()) return;
  give_up();
  thread_.join();
  done_ = {};
}

}  // namespace clonesafe
