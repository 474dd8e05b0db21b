#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_APPLICATION_OUTPUT_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_APPLICATION_OUTPUT_H_

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "proxy/core/loop.h"
#include "proxy/protocols/postgres/conversation.h"

namespace clonesafe::proxy::postgres {

// What several coroutines write to one application: one at a time, and what others have to say
// meanwhile goes behind. Not thread-safe.
class ApplicationOutput {
 public:
  explicit ApplicationOutput(Loop& loop) : given_(loop.timer()) {}

  // False if it could not be written, now or before.
  Awaitable<bool> give(Stream& application, std::string bytes) {
    co_return co_await give_view(application, bytes);
  }
  // Nothing of it is used after the first suspension.
  Awaitable<bool> give_view(Stream& application, std::string_view bytes) {
    if (bytes.empty()) co_return !failed_;
    if (giving_) {
      behind_ += bytes;
      while (giving_) {
        given_.expires_at(boost::asio::steady_timer::time_point::max());
        co_await given_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
      }
      co_return !failed_;
    }
    giving_ = true;
    bool given = (co_await application.write(bytes_of(bytes))).has_value();
    while (given && !behind_.empty()) {
      const std::string more = std::exchange(behind_, {});
      given = (co_await application.write(bytes_of(more))).has_value();
    }
    giving_ = false;
    if (!given) failed_ = true;
    given_.cancel();
    co_return given;
  }

 private:
  boost::asio::steady_timer given_;
  bool giving_ = false, failed_ = false;
  std::string behind_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_APPLICATION_OUTPUT_H_
