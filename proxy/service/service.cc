#include "proxy/service/service.h"

#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/service/relay.h"
#include "proxy/tls/tls_stream.h"

namespace clonesafe::proxy {
namespace {

namespace asio = boost::asio;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
// Out of descriptors or memory: others may be freed soon.
constexpr std::chrono::milliseconds kAcceptPause{50};
// Stale connections that are closed at once.
constexpr std::size_t kFenceBatch = 64;

}  // namespace

Result<ServiceParts> ServiceParts::make(const ServiceConfig& config) {
  ServiceParts parts{.config = config, .listen_tls = {}, .upstream_tls = {}};
  if (config.listen_tls) {
    auto context = TlsContext::server(*config.listen_tls);
    if (!context) return fail(context.error(), "service '" + config.name + "', listen_tls");
    parts.listen_tls = std::move(*context);
  }
  if (config.upstream.tls) {
    auto context = TlsContext::client(*config.upstream.tls);
    if (!context) return fail(context.error(), "service '" + config.name + "', upstream.tls");
    parts.upstream_tls = std::move(*context);
  }
  return parts;
}

// Bytes between an application and an upstream.
class Service::RawSession final : public Session {
 public:
  RawSession(Service& service, std::unique_ptr<Stream> application, Endpoint from)
      : service_(service), application_(std::move(application)), from_(std::move(from)) {
    traffic_.last = std::chrono::steady_clock::now();
    service_.sessions_.insert(this);
  }
  ~RawSession() override { service_.sessions_.erase(this); }

  Awaitable<void> run() {
    const ServiceConfig& config = service_.parts_.config;
    const auto when_stale =
        config.on_clone == OnClone::kReopen ? WhenStale::kKeep : WhenStale::kReset;
    std::vector<std::byte> first;
    for (;;) {
      auto connected = co_await service_.upstream_.connect(config.hold);
      if (!connected) {
        ++service_.counts_.failed;
        spdlog::warn("{}: no upstream for {}: {}", config.name, to_text(from_),
                     connected.error().message());
        co_return application_->reset();
      }
      upstream_ = std::move(*connected);
      const RelayEnd end =
          co_await relay(service_.loop_, *application_, *upstream_, traffic_, when_stale, first);
      if (end == RelayEnd::kStale || end == RelayEnd::kStaleInTheMiddle) ++service_.counts_.fenced;
      upstream_.reset();
      if (end != RelayEnd::kStale || when_stale != WhenStale::kKeep) co_return;
      ++service_.counts_.reopened;
    }
  }

  // What waits for the upstream is woken, finds it stale, and does the rest.
  void fenced() override {
    if (application_->stale()) return reset();
    if (upstream_ && upstream_->stale()) upstream_->close();
  }
  void look(std::chrono::steady_clock::time_point now) override {
    const auto idle = service_.parts_.config.idle;
    if (idle.count() != 0 && now - traffic_.last > idle) reset();
  }
  void reset() override {
    application_->reset();
    if (upstream_) upstream_->close();
  }

 private:
  Service& service_;
  std::unique_ptr<Stream> application_;
  std::unique_ptr<Stream> upstream_;
  Endpoint from_;
  Traffic traffic_;
};

Service::Service(Loop& loop, const ServiceParts& parts)
    : loop_(loop),
      parts_(parts),
      upstream_(loop, parts.config.upstream, parts.upstream_tls ? &*parts.upstream_tls : nullptr) {}

Service::~Service() = default;

Status Service::listen(std::vector<UniqueFd> sockets) {
  for (UniqueFd& fd : sockets) {
    auto acceptor = std::make_unique<Acceptor>(loop_.io());
    int family = 0;
    socklen_t size = sizeof family;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_DOMAIN, &family, &size) != 0)
      return fail_errno("service '" + parts_.config.name + "': socket");
    boost::system::error_code error;
    acceptor->assign(asio::generic::stream_protocol(family, 0), fd.get(), error);
    if (error) return fail("service '" + parts_.config.name + "': " + error.message());
    [[maybe_unused]] const int owned_by_acceptor = fd.release();
    acceptors_.push_back(std::move(acceptor));
    asio::co_spawn(loop_.io(), accept(shared_from_this(), *acceptors_.back()), asio::detached);
  }
  return {};
}

void Service::stop_listening() {
  boost::system::error_code error;
  for (const auto& acceptor : acceptors_) acceptor->close(error);
}

Awaitable<void> Service::accept(std::shared_ptr<Service> self, Acceptor& acceptor) {
  while (acceptor.is_open()) {
    Socket socket(loop_.io());
    Endpoint from;
    const auto [error] = co_await acceptor.async_accept(socket, from, kAwait);
    if (error == asio::error::operation_aborted || !acceptor.is_open()) co_return;
    if (error) {
      spdlog::warn("{}: accept: {}", parts_.config.name, error.message());
      asio::steady_timer pause = loop_.timer();
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (sessions_.size() >= parts_.config.max_sessions) {
      ++counts_.refused;
      continue;  // closed
    }
    ++counts_.accepted;
    asio::co_spawn(loop_.io(), serve(self, std::move(socket), std::move(from)), asio::detached);
  }
}

// The application's stream, with its TLS session.
Awaitable<Result<std::unique_ptr<Stream>>> Service::greet(Socket socket, const Endpoint& from) {
  const Guard guard = is_local(from) ? Guard() : Guard(loop_.fence());
  if (socket.native_handle() >= 0 && from.protocol().family() != AF_UNIX) {
    const int on = 1;
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  std::unique_ptr<Stream> stream = std::make_unique<PlainStream>(std::move(socket), guard);
  if (!parts_.listen_tls) co_return stream;
  auto session = parts_.listen_tls->session();
  if (!session) co_return fail(session.error());
  auto tls = TlsStream::make(std::move(stream), std::move(*session), loop_.timer());
  if (!tls) co_return fail(tls.error());
  if (auto shaken = co_await (*tls)->handshake(); !shaken) co_return fail(shaken.error());
  co_return std::move(*tls);
}

Awaitable<void> Service::serve(std::shared_ptr<Service> /*kept*/, Socket socket, Endpoint from) {
  auto application = co_await greet(std::move(socket), from);
  if (!application) {
    spdlog::info("{}: {}: {}", parts_.config.name, to_text(from), application.error().message());
    co_return;
  }
  RawSession session(*this, std::move(*application), std::move(from));
  co_await session.run();
}

void Service::fence() {
  fence_some({sessions_.begin(), sessions_.end()});
}

void Service::fence_some(std::vector<Session*> all) {
  for (std::size_t done = 0; done < kFenceBatch && !all.empty(); ++done) {
    Session* const session = all.back();
    all.pop_back();
    // It may have ended since.
    if (sessions_.contains(session)) session->fenced();
  }
  if (all.empty()) return;
  asio::post(loop_.io(), [self = shared_from_this(), rest = std::move(all)]() mutable {
    self->fence_some(std::move(rest));
  });
}

void Service::look(std::chrono::steady_clock::time_point now) {
  for (Session* session : std::vector<Session*>(sessions_.begin(), sessions_.end())) {
    if (sessions_.contains(session)) session->look(now);
  }
}

void Service::reset_all() {
  for (Session* session : std::vector<Session*>(sessions_.begin(), sessions_.end())) {
    if (sessions_.contains(session)) session->reset();
  }
}

}  // namespace clonesafe::proxy
