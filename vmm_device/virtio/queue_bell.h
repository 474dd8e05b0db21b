#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_QUEUE_BELL_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_QUEUE_BELL_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>

#include "libclonesafe/base/error.h"

namespace clonesafe::virtio {

// An eventfd that is heard on the device thread. Used, and destroyed, there, or after it ended.
class QueueBell : public std::enable_shared_from_this<QueueBell> {
 public:
  // `rung` is called some time after each signal, once for all that came by then. Not any more when
  // the object is gone.
  static Result<std::shared_ptr<QueueBell>> create(boost::asio::io_context& device_thread,
                                                   std::function<void()> rung);
  int event() { return event_.native_handle(); }

 private:
  QueueBell(boost::asio::io_context& device_thread, int event, std::function<void()> rung)
      : event_(device_thread, event), rung_(std::move(rung)) {}
  void listen();

  boost::asio::posix::stream_descriptor event_;
  std::uint64_t signals_ = 0;
  const std::function<void()> rung_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_QUEUE_BELL_H_
