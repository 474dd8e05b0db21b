#ifndef CLONESAFE_PROXY_CORE_WITHIN_H_
#define CLONESAFE_PROXY_CORE_WITHIN_H_

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <string>

#include "proxy/core/loop.h"
#include "proxy/core/stream.h"

namespace clonesafe::proxy {

// Who waits for both would not hear of what one of them throws before the other one is over.
template <typename T>
Awaitable<Result<T>> without_throwing(Awaitable<Result<T>> what) {
  try {
    co_return co_await std::move(what);
  } catch (const std::exception& error) {
    co_return fail(error.what());
  }
}

// What waits for a peer, with a limit; an error if it is over first, or where there is no memory.
template <typename T>
Awaitable<Result<T>> within(Loop& loop, std::chrono::milliseconds limit,
                            Awaitable<Result<T>> what) {
  using namespace boost::asio::experimental::awaitable_operators;
  boost::asio::steady_timer timer = loop.timer();
  timer.expires_after(limit);
  auto first = co_await (without_throwing(std::move(what)) ||
                         timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable)));
  if (first.index() == 0) co_return std::move(std::get<0>(first));
  co_return fail("no answer within " + std::to_string(limit.count()) + " ms");
}

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_WITHIN_H_
