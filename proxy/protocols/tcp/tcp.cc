#include "proxy/protocols/tcp/tcp.h"

#include <spdlog/spdlog.h>

#include <vector>

#include "proxy/core/spawn.h"
#include "proxy/protocols/tcp/relay.h"

namespace clonesafe::proxy {
namespace {

std::string_view name_of(RelayEnd end) {
  switch (end) {
    case RelayEnd::kEnded:
      return "ended";
    case RelayEnd::kStale:
    case RelayEnd::kStaleInTheMiddle:
      return "cloned";
    case RelayEnd::kApplicationFailed:
      return "application failed";
    case RelayEnd::kUpstreamFailed:
      return "upstream failed";
  }
  return "";
}

class TcpSession final : public Session {
 public:
  TcpSession(SessionHost& host, std::unique_ptr<Stream> application, Client client)
      : Session(host, std::move(client)), application_(std::move(application)) {}

  Awaitable<void> run() {
    const ServiceConfig& config = host().config;
    const auto when_stale =
        config.on_clone == OnClone::kReopen ? WhenStale::kKeep : WhenStale::kReset;
    std::vector<std::byte> first;
    for (;;) {
      auto connected = co_await connect();
      if (!connected) co_return application_->reset();
      upstream_ = std::move(*connected);
      parted_ = false;
      answered_ = true;
      RelayWatch watch{.used = [this](Direction direction) { note(direction); },
                       .gone = [this] { return parted_ || upstream_->stale(); }};
      const RelayEnd end = co_await relay(host().loop, *application_, *upstream_, std::move(watch),
                                          when_stale, first);
      if (upstream_->stale() && (end == RelayEnd::kStale || end == RelayEnd::kStaleInTheMiddle))
        ++host().counts.fenced;
      upstream_.reset();
      if (end != RelayEnd::kStale || when_stale != WhenStale::kKeep) co_return ends(name_of(end));
      ++host().counts.reopened;
    }
  }

  // What waits for the upstream is woken, finds it stale, and does the rest.
  void fenced() override {
    if (application_->stale()) return reset();
    if (upstream_ && upstream_->stale()) upstream_->close();
  }
  void reset() override {
    application_->reset();
    if (upstream_) upstream_->close();
  }

  // Where each message stands for itself, nothing is under way if the last bytes were an answer.
  void park() override {
    if (host().config.on_clone != OnClone::kReopen || !upstream_ || parted_ || !answered_) return;
    parted_ = true;
    spawn(host().loop.io(), part_from(upstream_));
  }

 private:
  void note(Direction direction) {
    use();
    answered_ = direction == Direction::kDown;
  }

  std::unique_ptr<Stream> application_;
  std::shared_ptr<Stream> upstream_;
  bool answered_ = true;
  bool parted_ = false;
};

}  // namespace

Awaitable<void> serve_tcp(SessionHost& host, std::unique_ptr<Stream> application, Client client) {
  TcpSession session(host, std::move(application), std::move(client));
  co_await session.run();
}

}  // namespace clonesafe::proxy
