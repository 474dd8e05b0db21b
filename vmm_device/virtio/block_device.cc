#include "vmm_device/virtio/block_device.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <future>

namespace clonesafe::virtio {
namespace {

constexpr std::array<std::uint16_t, 1> kQueueSize = {256};
// A request has a header and a status beside its data.
constexpr std::uint32_t kDataSegments = kQueueSize[0] - 2;
// So much is done at most before the driver hears of it.
constexpr std::uint64_t kAnswerAfter = 256 * 1024;
// A pause waits for what was taken: no more is, once it is this much.
constexpr std::uint64_t kBatchBytes = 4 << 20;

blk::Config config_of(const clonesafe::block::Disk& disk) {
  blk::Config config{};
  config.capacity = disk.capacity() / clonesafe::block::kSectorSize;
  config.seg_max = kDataSegments;
  config.blk_size = clonesafe::block::kSectorSize;
  // 4 KiB: the host's pages, and the clusters of a layer. It is what file systems go by.
  config.physical_block_exp = 3;
  config.min_io_size = 8;
  config.max_discard_sectors = blk::kMaxDiscardSectors;
  config.max_discard_seg = blk::kMaxSegments;
  config.discard_sector_alignment = 8;
  config.max_write_zeroes_sectors = blk::kMaxDiscardSectors;
  config.max_write_zeroes_seg = blk::kMaxSegments;
  config.write_zeroes_may_unmap = 1;
  return config;
}

}  // namespace

BlockDevice::BlockDevice(std::string name, clonesafe::block::Disk disk, std::string serial)
    : name_(std::move(name)),
      disk_(std::move(disk)),
      options_{.serial = std::move(serial)},
      config_(config_of(disk_)),
      batch_(kBatch) {}

std::uint64_t BlockDevice::features() const {
  const std::uint64_t common = kFeatureIndirectDescriptors | kFeatureEventIndex |
                               blk::kFeatureSegMax | blk::kFeatureBlockSize |
                               blk::kFeatureTopology | blk::kFeatureFlush;
  return common | (disk_.read_only() ? blk::kFeatureReadOnly
                                     : blk::kFeatureDiscard | blk::kFeatureWriteZeroes);
}

std::span<const std::uint16_t> BlockDevice::queue_sizes() const {
  return kQueueSize;
}

void BlockDevice::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  const auto bytes = std::as_bytes(std::span(&config_, 1));
  if (offset >= bytes.size()) return;
  const auto there = bytes.subspan(static_cast<std::size_t>(offset));
  std::memcpy(data.data(), there.data(), std::min(data.size(), there.size()));
}

Status BlockDevice::start(const std::function<Status(const std::string&)>& started) {
  event_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!event_) return fail_errno(name_ + ": eventfd");
  std::promise<Status> ready;
  auto outcome = ready.get_future();
  // The process's signals are for its main thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, &started, &ready] {
    auto confined = started ? started(name_) : Status();
    const bool go_on = confined.has_value();
    ready.set_value(std::move(confined));
    if (go_on) run();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  auto status = outcome.get();
  if (!status) thread_.join();
  return status;
}

void BlockDevice::end() {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
  }
  if (event_) ring();
  if (thread_.joinable()) thread_.join();
  // A layer's map is in memory until then.
  if (auto flushed = disk_.flush(); !flushed) log(flushed.error());
}

void BlockDevice::run() {
  for (std::uint64_t rung = 0; ::read(event_.get(), &rung, sizeof rung) > 0 || errno == EINTR;) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      if (stops_ != 0) continue;  // continue_work() rings again
      working_ = true;
    }
    work();
    const std::lock_guard lock(mutex_);
    working_ = false;
    changed_.notify_all();
  }
}

void BlockDevice::ring() {
  const std::uint64_t once = 1;
  // Only the thread reads, and nobody rings 2^64 times before it does.
  [[maybe_unused]] const ssize_t written = ::write(event_.get(), &once, sizeof once);
}

void BlockDevice::notified(std::size_t) {
  if (event_) return ring();
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || stops_ != 0) return;
  }
  work();
}

void BlockDevice::stop_work() {
  std::unique_lock lock(mutex_);
  ++stops_;
  stopped_ = true;
  changed_.wait(lock, [this] { return !working_; });
}

void BlockDevice::continue_work() {
  {
    const std::lock_guard lock(mutex_);
    if (--stops_ != 0) return;
    stopped_ = false;
  }
  // What came meanwhile, and what a batch that was cut short left.
  notified(0);
}

void BlockDevice::work() {
  if (!holds_ && !serve_waiting()) return;
  while (!stopped_) {
    const auto batch = std::span(batch_).first(take());
    if (batch.empty() || !serve(batch)) return;
  }
}

// Does requests and answers them. False as of answer().
bool BlockDevice::serve(std::span<Taken> batch) {
  std::size_t answered = 0;
  std::uint64_t bytes = 0;
  for (std::size_t index = 0; index < batch.size(); ++index) {
    Taken& request = batch[index];
    request.answer = blk::serve(disk_, request.chain, options_);
    if (request.answer) {
      count(*request.answer);
      bytes += request.answer->bytes;
    }
    if (bytes < kAnswerAfter && index + 1 < batch.size()) continue;
    if (!answer(batch.subspan(answered, index + 1 - answered))) return false;
    answered = index + 1;
    bytes = 0;
  }
  return true;
}

// What was held, in its order.
bool BlockDevice::serve_waiting() {
  if (waiting_.empty()) return true;
  std::vector<Taken> waiting;
  waiting.swap(waiting_);
  return serve(waiting);
}

void BlockDevice::release() {
  holds_ = false;
  notified(0);
}

// Takes what is in the queue, up to a batch, without what is held.
std::size_t BlockDevice::take() {
  const QueueLease lease(host_);
  if (!lease) return 0;
  options_.write_through = (lease.driver_features() & blk::kFeatureFlush) == 0;
  Queue& queue = lease.queue(0);
  queue.set_notifications(false);
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  while (count < kBatch && bytes < kBatchBytes) {
    auto popped = queue.pop(batch_[count].chain);
    if (!popped) {
      lease.fail(popped.error());
      break;
    }
    if (*popped && holds_ && blk::is_durable(batch_[count].chain, options_)) {
      ++counts_.held;
      waiting_.push_back(std::move(batch_[count]));
      batch_[count] = {};
      continue;
    }
    if (*popped) {
      const Chain& chain = batch_[count++].chain;
      bytes += std::uint64_t{chain.readable_size} + chain.writable_size;
      continue;
    }
    if (count != 0) break;
    // Before it sleeps it asks to be told, and then looks again.
    queue.set_notifications(true);
    if (!queue.has_available()) break;
    queue.set_notifications(false);
  }
  return count;
}

// False: the driver broke the rules, or the device needs a reset; nothing is answered any more.
bool BlockDevice::answer(std::span<const Taken> done) {
  const QueueLease lease(host_);
  if (!lease) return false;
  for (const Taken& request : done) {
    if (!request.answer) {
      lease.fail(Error("a request without a place for its status"));
      return false;
    }
    lease.queue(0).push(request.chain, request.answer->written);
  }
  return true;
}

void BlockDevice::count(const blk::Answer& answer) {
  if (answer.error) {
    ++counts_.errors;
    log(*answer.error);
  }
  if (answer.status != blk::RequestStatus::kOk) return;
  switch (answer.type) {
    case blk::RequestType::kIn:
      ++counts_.reads;
      counts_.read_bytes += answer.bytes;
      return;
    case blk::RequestType::kOut:
      ++counts_.writes;
      counts_.written_bytes += answer.bytes;
      return;
    case blk::RequestType::kFlush:
      ++counts_.flushes;
      return;
    case blk::RequestType::kDiscard:
    case blk::RequestType::kWriteZeroes:
      ++counts_.discards;
      return;
    case blk::RequestType::kGetId:
      return;
  }
}

void BlockDevice::log(const Error& error) {
  if (const auto more = lines_.pass())
    spdlog::error("{}: the guest was told an I/O error: {}{}", name_, error.message(), *more);
}

BlockCounts BlockDevice::counts() const {
  return {.reads = counts_.reads,
          .writes = counts_.writes,
          .flushes = counts_.flushes,
          .discards = counts_.discards,
          .read_bytes = counts_.read_bytes,
          .written_bytes = counts_.written_bytes,
          .errors = counts_.errors,
          .held = counts_.held};
}

}  // namespace clonesafe::virtio
