// Waiting for restores and clones in a Boost.Asio program (1.81 or newer). Header only, C++17.
//
//   clonesafe::ChangeNotifier notifier(io);
//   notifier.async_wait_for_change([&](boost::system::error_code error, clonesafe::Change change)
//   {...});
//
// A ChangeNotifier is an after-hook of the lowest priority: its waits end after all other hooks
// have run, on the executor's threads. Hooks run in clonesafe::Watch's thread or in cs_poll, one of
// which the program must have. The agent doesn't wait for what a completion handler does; what must
// be done before the machine is called safe belongs in a Hook.
//
// Thread-safety: as of Asio's I/O objects, one object by one thread at a time. Not for children of
// fork: make another there.
#ifndef CLONESAFE_ASIO_HPP_
#define CLONESAFE_ASIO_HPP_

#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/asio/async_result.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

#include "clonesafe/hooks.hpp"

namespace clonesafe {

// The last one of the changes that a wait ended with.
struct Change {
  std::uint32_t kind = 0;     // CS_KIND_
  std::uint32_t changes = 0;  // CS_CHANGED_ bits
  std::uint64_t old_generation = 0;
  std::uint64_t new_generation = 0;
};

class ChangeNotifier {
 public:
  // Changes count from here on, also those between two waits. Throws LibraryError or
  // std::system_error.
  explicit ChangeNotifier(const boost::asio::any_io_executor& executor)
      : state_(std::make_shared<State>(executor)) {
    hook_ = Hook::after_restore({"asio", Priority::kUser, {}},
                                [state = state_](const cs_event& event) { state->tell(event); });
  }
  template <typename Context, typename = std::enable_if_t<
                                  std::is_convertible_v<Context&, boost::asio::execution_context&>>>
  explicit ChangeNotifier(Context& context)
      : ChangeNotifier(boost::asio::any_io_executor(context.get_executor())) {}
  ChangeNotifier(const ChangeNotifier&) = delete;
  ChangeNotifier& operator=(const ChangeNotifier&) = delete;
  // Ends the wait with operation_aborted.
  ~ChangeNotifier() {
    boost::system::error_code ignored;
    (void)state_->descriptor.cancel(ignored);
  }

  // Completes with `void(boost::system::error_code, Change)` once there was a change since the last
  // wait that completed. One wait at a time.
  template <typename Token>
  auto async_wait_for_change(Token&& token) {
    return boost::asio::async_compose<Token, void(boost::system::error_code, Change)>(
        Wait{state_, false}, token, state_->descriptor);
  }
  // Ends the wait with operation_aborted.
  void cancel() { state_->descriptor.cancel(); }

 private:
  struct State {
    explicit State(const boost::asio::any_io_executor& executor)
        : event_fd(make_event()), descriptor(executor, event_fd) {}
    static int make_event() {
      const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
      if (event < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
      return event;
    }
    void tell(const cs_event& event) {
      const std::lock_guard guard(lock);
      last = {event.kind, event.changes, event.old_generation, event.new_generation};
      const std::uint64_t one = 1;
      (void)!::write(event_fd, &one, sizeof(one));
    }
    // False: there was nothing.
    bool take(Change& change) {
      const std::lock_guard guard(lock);
      std::uint64_t count = 0;
      if (::read(event_fd, &count, sizeof(count)) != sizeof(count)) return false;
      change = last;
      return true;
    }

    const int event_fd;
    boost::asio::posix::stream_descriptor descriptor;  // owns it
    std::mutex lock;
    Change last;
  };
  struct Wait {
    std::shared_ptr<State> state;
    bool waited;

    template <typename Self>
    void operator()(Self& self, boost::system::error_code error = {}) {
      Change change;
      if (error || (waited && state->take(change))) return self.complete(error, change);
      waited = true;
      // The descriptor outlives the wait: this object holds it.
      auto& descriptor = state->descriptor;
      descriptor.async_wait(boost::asio::posix::descriptor_base::wait_read, std::move(self));
    }
  };

  std::shared_ptr<State> state_;
  Hook hook_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_ASIO_HPP_
