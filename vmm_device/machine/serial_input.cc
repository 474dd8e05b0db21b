#include "vmm_device/machine/serial_input.h"

#include <fcntl.h>

#include <boost/asio/buffer.hpp>
#include <chrono>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe {
namespace asio = boost::asio;

SerialInput::SerialInput(asio::io_context& io, int fd, Serial& serial)
    : serial_(serial), input_(io), retry_(io) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return;
  boost::system::error_code error;
  if (input_.assign(copy.get(), error)) return;  // a regular file, for one
  [[maybe_unused]] const int owned_by_input = copy.release();
  read();
}

void SerialInput::read() {
  input_.async_read_some(asio::buffer(buffer_),
                         [this](boost::system::error_code error, std::size_t size) {
                           if (!error) deliver(0, size);
                         });
}

void SerialInput::deliver(std::size_t from, std::size_t size) {
  const std::size_t taken = serial_.receive(std::span(buffer_).subspan(from, size - from));
  if (from + taken == size) {
    read();
    return;
  }
  retry_.expires_after(std::chrono::milliseconds(5));
  retry_.async_wait([this, next = from + taken, size](boost::system::error_code error) {
    if (!error) deliver(next, size);
  });
}

}  // namespace clonesafe
