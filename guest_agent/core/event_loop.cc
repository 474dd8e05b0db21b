#include "guest_agent/core/event_loop.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>

#include "guest_agent/base/log.h"

namespace clonesafe::agent {

namespace asio = boost::asio;
using boost::system::error_code;

void LoopTimers::after(std::chrono::milliseconds delay, std::function<void()> run) {
  auto timer = std::make_shared<asio::steady_timer>(io_, delay);
  timer->async_wait([timer, run = std::move(run)](const error_code& error) {
    if (!error) run();
  });
}

class Wakes::Impl : public std::enable_shared_from_this<Wakes::Impl> {
 public:
  Impl(asio::io_context& io, SourceSet& sources, Options options)
      : io_(io), sources_(sources), options_(std::move(options)), timer_(io) {}

  void start() {
    for (const auto& source : sources_.all()) {
      must_poll_ = must_poll_ || source->must_be_polled();
      const int wake_fd = source->wake_fd();
      if (wake_fd < 0) continue;
      // Asio closes what it waits on; the source keeps its own.
      const int fd = ::dup(wake_fd);
      if (fd < 0) {
        log_warning("source " + std::string(source->name()) +
                    " can't be waited for: " + Error::from_errno("dup").message());
        continue;
      }
      waits_.push_back({.source = source.get(),
                        .descriptor = std::make_unique<asio::posix::stream_descriptor>(io_, fd)});
      ++live_;
    }
    for (std::size_t i = 0; i < waits_.size(); ++i) wait(i);
    reconsider();
  }

  void reconsider() {
    const bool poll = polls();
    if (poll == polling_) return;
    polling_ = poll;
    log_info(poll ? "nothing can wake the agent: it looks at the words every " +
                        std::to_string(options_.poll_interval.count()) + " ms"
                  : std::string("a source can wake the agent: it does not poll"));
    if (poll) {
      tick();
    } else {
      timer_.cancel();
    }
  }

  bool polls() const { return must_poll_ || (live_ == 0 && !options_.other_wake()); }

  void stop() {
    stopped_ = true;
    error_code ignored;  // a destructor calls this
    timer_.cancel(ignored);
    waits_.clear();
  }

 private:
  struct Waiting {
    Source* source;
    std::unique_ptr<asio::posix::stream_descriptor> descriptor;
  };

  void wait(std::size_t index) {
    waits_[index].descriptor->async_wait(
        asio::posix::stream_descriptor::wait_read,
        [self = shared_from_this(), index](const error_code& error) {
          if (error || self->stopped_) return;
          self->woken(index);
        });
  }

  void woken(std::size_t index) {
    Source& source = *waits_[index].source;
    // Look first: the repair is what is urgent.
    options_.look(source.name());
    if (auto drained = source.drain(); !drained) {
      log_warning("source " + std::string(source.name()) +
                  " wakes no more: " + drained.error().message());
      waits_[index].descriptor.reset();
      --live_;
      reconsider();
      return;
    }
    wait(index);
  }

  void tick() {
    timer_.expires_after(options_.poll_interval);
    timer_.async_wait([self = shared_from_this()](const error_code& error) {
      if (error || self->stopped_ || !self->polling_) return;
      self->options_.look("poll");
      self->tick();
    });
  }

  asio::io_context& io_;
  SourceSet& sources_;
  const Options options_;
  asio::steady_timer timer_;
  std::vector<Waiting> waits_;
  std::size_t live_ = 0;
  bool must_poll_ = false;
  bool polling_ = false;
  bool stopped_ = false;
};

Wakes::Wakes(asio::io_context& io, SourceSet& sources, Options options)
    : impl_(std::make_shared<Impl>(io, sources, std::move(options))) {}
Wakes::~Wakes() {
  impl_->stop();
}
void Wakes::start() {
  impl_->start();
}
void Wakes::reconsider() {
  impl_->reconsider();
}
bool Wakes::polls() const {
  return impl_->polls();
}

void on_termination(asio::io_context& io, std::function<void()> stop) {
  auto signals = std::make_shared<asio::signal_set>(io, SIGTERM, SIGINT);
  signals->async_wait([signals, stop = std::move(stop)](const error_code& error, int) {
    if (!error) stop();
  });
}

}  // namespace clonesafe::agent
