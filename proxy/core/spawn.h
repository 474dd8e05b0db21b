#ifndef CLONESAFE_PROXY_CORE_SPAWN_H_
#define CLONESAFE_PROXY_CORE_SPAWN_H_

#include <spdlog/spdlog.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <new>
#include <thread>
#include <utility>

namespace clonesafe::proxy {

// What is thrown here is thrown for want of memory.
inline void log_thrown(const std::exception_ptr& thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    spdlog::error("given up: {}", error.what());
  }
}

// Runs it beside all others. What it throws ends it, and nothing else.
inline void spawn(boost::asio::io_context& io, boost::asio::awaitable<void> what) {
  boost::asio::co_spawn(io, std::move(what), log_thrown);
}

// Runs the loop until it is stopped. Where there is no memory something ends and gives back its
// own; then it goes on, with `begin`.
inline void run_until_stopped(boost::asio::io_context& io, const std::function<void()>& begin) {
  constexpr std::chrono::milliseconds kPause{50};
  while (!io.stopped()) {
    try {
      begin();
      io.run();
    } catch (const std::bad_alloc&) {
      log_thrown(std::current_exception());
      std::this_thread::sleep_for(kPause);
    }
  }
}

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_SPAWN_H_
