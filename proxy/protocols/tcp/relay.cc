#include "proxy/protocols/tcp/relay.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <optional>

namespace clonesafe::proxy {
namespace {

using namespace boost::asio::experimental::awaitable_operators;

// The two directions of one session.
class Relay {
 public:
  Relay(Loop& loop, Stream& application, Stream& upstream, RelayWatch watch, WhenStale when_stale,
        std::vector<std::byte>& first)
      : loop_(loop),
        application_(application),
        upstream_(upstream),
        watch_(std::move(watch)),
        keeps_(when_stale == WhenStale::kKeep),
        first_(first) {}

  Awaitable<RelayEnd> run() {
    co_await (up() && down());
    co_return end_.value_or(RelayEnd::kEnded);
  }

 private:
  // The first reason counts. Whoever waits in the other direction is woken by the end of its
  // stream.
  void end(RelayEnd why) {
    if (end_) return;
    end_ = why;
    upstream_.reset();
    if (why != RelayEnd::kStale || !keeps_) application_.reset();
  }
  void write_failed() {
    if (!watch_.gone()) return end(RelayEnd::kUpstreamFailed);
    // Whatever the other direction made of it: some of these bytes may have left.
    end_ = RelayEnd::kStaleInTheMiddle;
    upstream_.reset();
    application_.reset();
  }

  Awaitable<void> up() {
    std::vector<std::byte> first;
    first.swap(first_);
    if (!first.empty()) {
      watch_.used(Direction::kUp);
      if (!co_await upstream_.write(first)) co_return write_failed();
    }
    for (;;) {
      const auto count = co_await application_.read(loop_.scratch());
      if (!count) co_return end(RelayEnd::kApplicationFailed);
      const auto bytes = loop_.scratch().first(*count);
      // Not one of these bytes was sent: they can go to another connection.
      if (watch_.gone()) {
        first_.assign(bytes.begin(), bytes.end());
        end(RelayEnd::kStale);
        if (bytes.empty()) end_ = RelayEnd::kEnded;
        co_return;
      }
      if (end_) co_return;
      if (bytes.empty()) {
        if (!co_await upstream_.finish()) write_failed();
        co_return;
      }
      watch_.used(Direction::kUp);
      if (!co_await upstream_.write(bytes)) co_return write_failed();
    }
  }

  Awaitable<void> down() {
    while (!end_) {
      const auto count = co_await upstream_.read(loop_.scratch());
      if (end_) co_return;
      // Nothing is under way to a stale upstream, or up() will say so.
      if (!count) co_return end(watch_.gone() ? RelayEnd::kStale : RelayEnd::kUpstreamFailed);
      if (*count == 0) {
        // A goodbye that was answered.
        if (watch_.gone()) co_return end(RelayEnd::kStale);
        if (!co_await application_.finish()) end(RelayEnd::kApplicationFailed);
        co_return;
      }
      watch_.used(Direction::kDown);
      if (!co_await application_.write(loop_.scratch().first(*count)))
        co_return end(RelayEnd::kApplicationFailed);
    }
  }

  Loop& loop_;
  Stream& application_;
  Stream& upstream_;
  const RelayWatch watch_;
  const bool keeps_;
  std::vector<std::byte>& first_;
  std::optional<RelayEnd> end_;
};

}  // namespace

Awaitable<RelayEnd> relay(Loop& loop, Stream& application, Stream& upstream, RelayWatch watch,
                          WhenStale when_stale, std::vector<std::byte>& first) {
  Relay both(loop, application, upstream, std::move(watch), when_stale, first);
  co_return co_await both.run();
}

}  // namespace clonesafe::proxy
