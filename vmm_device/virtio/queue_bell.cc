#include "vmm_device/virtio/queue_bell.h"

#include <sys/eventfd.h>

#include <boost/asio/buffer.hpp>
#include <utility>

namespace clonesafe::virtio {

Result<std::shared_ptr<QueueBell>> QueueBell::create(boost::asio::io_context& device_thread,
                                                     std::function<void()> rung) {
  const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) return fail_errno("eventfd");
  std::shared_ptr<QueueBell> bell(new QueueBell(device_thread, event, std::move(rung)));
  bell->listen();
  return bell;
}

// A read takes all signals there are. One that waits is cancelled when the object goes, and writes
// to signals_ no more.
void QueueBell::listen() {
  event_.async_read_some(
      boost::asio::buffer(&signals_, sizeof signals_),
      [weak = weak_from_this()](const boost::system::error_code& error, std::size_t) {
        const auto self = weak.lock();
        if (!self || error) return;
        self->rung_();
        self->listen();
      });
}

}  // namespace clonesafe::virtio
