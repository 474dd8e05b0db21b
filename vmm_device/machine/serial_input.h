#ifndef CLONESAFE_VMM_DEVICE_MACHINE_SERIAL_INPUT_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_SERIAL_INPUT_H_

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "vmm_device/machine/serial.h"

namespace clonesafe {

// Carries bytes from a descriptor (a terminal or pipe) to the guest's serial line, no faster than
// the guest takes them. Input that ends, or can't be polled, is no error: the guest just hears
// nothing.
class SerialInput {
 public:
  // Uses a copy of `fd`. `serial` outlives this.
  SerialInput(boost::asio::io_context& io, int fd, Serial& serial);

 private:
  void read();
  void deliver(std::size_t from, std::size_t size);

  Serial& serial_;
  boost::asio::posix::stream_descriptor input_;
  boost::asio::steady_timer retry_;
  std::array<std::byte, 256> buffer_{};
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_SERIAL_INPUT_H_
