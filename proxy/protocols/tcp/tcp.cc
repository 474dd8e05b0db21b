#include "proxy/protocols/tcp/tcp.h"

#include <spdlog/spdlog.h>

#include <vector>

#include "proxy/protocols/tcp/relay.h"

namespace clonesafe::proxy {
namespace {

class TcpSession final : public Session {
 public:
  TcpSession(SessionHost& host, std::unique_ptr<Stream> application, Client client)
      : Session(host), application_(std::move(application)), client_(std::move(client)) {}

  Awaitable<void> run() {
    const ServiceConfig& config = host().config;
    const auto when_stale =
        config.on_clone == OnClone::kReopen ? WhenStale::kKeep : WhenStale::kReset;
    std::vector<std::byte> first;
    for (;;) {
      auto connected = co_await host().upstream.connect(config.hold, client_.preface);
      if (!connected) {
        ++host().counts.failed;
        spdlog::warn("{}: no upstream for {}: {}", config.name, to_text(client_.from),
                     connected.error().message());
        co_return application_->reset();
      }
      upstream_ = std::move(*connected);
      const RelayEnd end = co_await relay(
          host().loop, *application_, *upstream_, [this] { use(); }, when_stale, first);
      if (end == RelayEnd::kStale || end == RelayEnd::kStaleInTheMiddle) ++host().counts.fenced;
      upstream_.reset();
      if (end != RelayEnd::kStale || when_stale != WhenStale::kKeep) co_return;
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

 private:
  std::unique_ptr<Stream> application_;
  std::unique_ptr<Stream> upstream_;
  const Client client_;
};

}  // namespace

Awaitable<void> serve_tcp(SessionHost& host, std::unique_ptr<Stream> application, Client client) {
  TcpSession session(host, std::move(application), std::move(client));
  co_await session.run();
}

}  // namespace clonesafe::proxy
