#ifndef CLONESAFE_GUEST_AGENT_CONTROL_AWAIT_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_AWAIT_H_

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace clonesafe::agent {

// co_await with it gives the error as a value, never as an exception.
inline constexpr auto kAwait = boost::asio::as_tuple(boost::asio::use_awaitable);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_AWAIT_H_
