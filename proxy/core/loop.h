#ifndef CLONESAFE_PROXY_CORE_LOOP_H_
#define CLONESAFE_PROXY_CORE_LOOP_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <span>
#include <vector>

#include "proxy/core/fence.h"
#include "proxy/core/tombstones.h"

namespace clonesafe::proxy {

// What all that runs on one thread shares.
class Loop {
 public:
  // One of so many in this process.
  explicit Loop(std::size_t loops = 1)
      : tombstones_(Tombstones::limit_for(loops)), scratch_(std::size_t{64} * 1024) {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  boost::asio::io_context& io() { return io_; }
  Fence& fence() { return fence_; }
  Tombstones& tombstones() { return tombstones_; }
  boost::asio::steady_timer timer() { return boost::asio::steady_timer(io_); }
  // For bytes between a read and a write, while nothing is waited for.
  std::span<std::byte> scratch() { return scratch_; }

 private:
  // What the event loop keeps alive uses them to its end.
  Fence fence_;
  Tombstones tombstones_;
  boost::asio::io_context io_{1};
  std::vector<std::byte> scratch_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_LOOP_H_
