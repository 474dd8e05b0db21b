#include "proxy/service/service.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/core/raised.h"
#include "proxy/core/spawn.h"
#include "proxy/core/within.h"
#include "proxy/protocols/http/http.h"
#include "proxy/protocols/postgres/login.h"
#include "proxy/protocols/postgres/postgres.h"
#include "proxy/protocols/postgres/server_pool.h"
#include "proxy/protocols/postgres/shared.h"
#include "proxy/protocols/postgres/users.h"
#include "proxy/protocols/redis/redis.h"
#include "proxy/protocols/tcp/tcp.h"
#include "proxy/service/diverted.h"
#include "proxy/tls/tls_stream.h"

namespace clonesafe::proxy {
namespace {

namespace asio = boost::asio;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
// Out of descriptors or memory: others may be freed soon.
constexpr std::chrono::milliseconds kAcceptPause{50};
// That they are short is said so often.
constexpr std::chrono::seconds kSayAgain{10};
constexpr std::chrono::milliseconds kProxyHeaderTimeout{5'000};
constexpr std::chrono::milliseconds kHandshakeTimeout{10'000};
// Stale connections that are closed at once.
constexpr std::size_t kFenceBatch = 64;

}  // namespace

Result<ServiceParts> ServiceParts::make(const ServiceConfig& config,
                                        std::shared_ptr<const Commands> commands) {
  ServiceParts parts{.config = config,
                     .listen_tls = {},
                     .upstream_tls = {},
                     .postgres = {},
                     .own_ports = {},
                     .commands = std::move(commands)};
  if (config.transparent != Transparent::kNone) parts.own_ports = std::make_shared<OwnPorts>();
  if (config.listen_tls) {
    ServerTlsOptions options = *config.listen_tls;
    if (config.protocol == Protocol::kPostgres && options.alpn.empty())
      options.alpn = {"postgresql"};
    auto context = TlsContext::server(options);
    if (!context) return fail(context.error(), "service '" + config.name + "', listen_tls");
    parts.listen_tls = std::move(*context);
  }
  if (config.upstream.tls) {
    auto context = TlsContext::client(*config.upstream.tls);
    if (!context) return fail(context.error(), "service '" + config.name + "', upstream.tls");
    parts.upstream_tls = std::move(*context);
  }
  if (config.protocol == Protocol::kPostgres) {
    auto shared = postgres::Shared::make();
    if (!shared) return fail(shared.error(), "service '" + config.name + "'");
    parts.postgres = std::move(*shared);
    // A mistake is told now; at each login all is read again.
    if (auto checked = postgres::check_users(config.postgres); !checked)
      return fail(checked.error(), "service '" + config.name + "'");
  }
  return parts;
}

Service::Service(Loop& loop, std::shared_ptr<const ServiceParts> parts)
    : loop_(loop),
      parts_(std::move(parts)),
      upstream_(loop, parts_->config.upstream,
                parts_->upstream_tls ? &*parts_->upstream_tls : nullptr,
                parts_->config.protocol == Protocol::kPostgres ? postgres::request_tls : nullptr,
                parts_->own_ports),
      pool_(parts_->config.upstream, upstream_),
      health_(loop, parts_->config.name, parts_->config.upstream, upstream_),
      host_{.loop = loop,
            .config = parts_->config,
            .upstream = upstream_,
            .pool = pool_,
            .listen_tls = parts_->listen_tls ? &*parts_->listen_tls : nullptr,
            .commands = parts_->commands.get(),
            .postgres = parts_->postgres.get()} {
  if (parts_->config.postgres.pooling != PostgresPooling::kTransaction) return;
  servers_ = std::make_unique<postgres::ServerPool>(loop, parts_->config,
                                                    [this] { return weak_from_this().lock(); });
  host_.servers = servers_.get();
}

Service::~Service() = default;

Status Service::listen(std::vector<UniqueFd> sockets) {
  for (UniqueFd& fd : sockets) {
    int family = 0;
    socklen_t size = sizeof family;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_DOMAIN, &family, &size) != 0)
      return fail_errno("service '" + parts_->config.name + "': socket");
    Listener& listener = listeners_.emplace_back(Acceptor(loop_.io()));
    boost::system::error_code error;
    listener.acceptor.assign(asio::generic::stream_protocol(family, 0), fd.get(), error);
    if (error) return fail("service '" + parts_->config.name + "': " + error.message());
    [[maybe_unused]] const int owned_by_acceptor = fd.release();
    spawn(loop_.io(), accept(shared_from_this(), listener));
  }
  return {};
}

void Service::stop_listening() {
  boost::system::error_code error;
  for (Listener& listener : listeners_) listener.acceptor.close(error);
}

Awaitable<void> Service::accept(std::shared_ptr<Service> /*kept*/, Listener& listener) {
  const Raised accepts(listener.accepts);
  Acceptor& acceptor = listener.acceptor;
  while (acceptor.is_open()) {
    Socket socket(loop_.io());
    Endpoint from;
    const auto [error] = co_await acceptor.async_accept(socket, from, kAwait);
    if (error == asio::error::operation_aborted || !acceptor.is_open()) co_return;
    if (error) {
      say_why_not(error.message());
      asio::steady_timer pause = loop_.timer();
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(kAwait);
      continue;
    }
    take(std::move(socket), std::move(from));
  }
}

// Who connects waits in the kernel's queue meanwhile.
void Service::say_why_not(const std::string& why) {
  const auto now = std::chrono::steady_clock::now();
  if (now < say_again_) return;
  say_again_ = now + kSayAgain;
  spdlog::warn("{}: accept: {}", parts_->config.name, why);
}

// One that was accepted.
void Service::take(Socket socket, Endpoint from) {
  const Guard guard = is_from_here(from) ? Guard() : Guard(loop_.fence());
  // After the guard, so that no generation comes in between.
  if (guard.can_be_stale() && loop_.fence().now() != epoch_) {
    boost::system::error_code error;
    loop_.tombstones().bury(socket.release(error), Opener::kPeer);
    return;
  }
  if (admitted_ >= parts_->config.max_sessions) {
    ++host_.counts.refused;
    return;  // closed
  }
  ++host_.counts.accepted;
  spawn(loop_.io(), serve(shared_from_this(), std::move(socket), guard, std::move(from)));
  ++admitted_;  // once it goes on to its end
}

// At a new generation. What comes afterwards is of this one, but for what the event loop has
// accepted already, and gives to accept() in its turn. Where there is no descriptor to take them
// with, some may be waiting still.
void Service::take_waiting() {
  bool all = true;
  for (Listener& listener : listeners_) {
    boost::system::error_code error;
    if (!listener.acceptor.is_open()) continue;
    listener.acceptor.non_blocking(true, error);
    while (!error) {
      Socket socket(loop_.io());
      Endpoint from;
      listener.acceptor.accept(socket, from, error);
      if (!error) take(std::move(socket), std::move(from));
    }
    all = all && error == asio::error::would_block;
  }
  asio::post(loop_.io(), [self = shared_from_this(), now = loop_.fence().now(), all] {
    if (all) self->epoch_ = now;
    self->all_taken_ = all;
    --self->fencing_;
  });
  ++fencing_;
}

bool Service::is_from_here(const Endpoint& from) const {
  return is_local(from) || (parts_->own_ports != nullptr && is_of_this_machine(from));
}

// The application's stream, with its TLS session. `ends` become what a PROXY header says.
Awaitable<Result<std::unique_ptr<Stream>>> Service::greet(Socket socket, Guard guard, Ends& ends,
                                                          Traffic& traffic) {
  if (socket.native_handle() >= 0 && ends.from.protocol().family() != AF_UNIX)
    set_tcp_options(socket.native_handle());
  std::unique_ptr<Stream> stream =
      std::make_unique<PlainStream>(std::move(socket), guard,
                                    PlainStream::Watch{.traffic = &traffic,
                                                       .gate = &gate_,
                                                       .tombstones = &loop_.tombstones(),
                                                       .opener = Opener::kPeer});
  if (parts_->config.accept_proxy_protocol) {
    if (!is_trusted(ends.from)) co_return fail("none of the proxies that are trusted");
    auto named = co_await within(loop_, kProxyHeaderTimeout, read_proxy_header(*stream, ends));
    if (!named) co_return fail(named.error());
    ends = std::move(*named);
  }
  const bool asks_for_tls = parts_->config.protocol == Protocol::kPostgres;
  if (!parts_->listen_tls || asks_for_tls) co_return stream;
  auto session = parts_->listen_tls->session();
  if (!session) co_return fail(session.error());
  auto tls = TlsStream::make(std::move(stream), std::move(*session), loop_.timer());
  if (!tls) co_return fail(tls.error());
  if (auto shaken = co_await within(loop_, kHandshakeTimeout, (*tls)->handshake()); !shaken) {
    ++host_.counts.failed_tls_handshakes;
    co_return fail(shaken.error());
  }
  ++host_.counts.tls_handshakes;
  co_return std::move(*tls);
}

bool Service::is_trusted(const Endpoint& peer) const {
  return std::ranges::any_of(parts_->config.trusted_proxies,
                             [&](const Network& network) { return network.contains(peer); });
}

Awaitable<void> Service::serve(std::shared_ptr<Service> /*kept*/, Socket socket, Guard guard,
                               Endpoint from) {
  SessionRecord record{.from = std::move(from)};
  {
    const Recorded recorded(*this, record);
    co_await serve_recorded(std::move(socket), guard, record);
  }
  if (parts_->config.access_log) log_access(record);
}

Awaitable<void> Service::serve_recorded(Socket socket, Guard guard, SessionRecord& record) {
  boost::system::error_code error;
  Ends ends{.from = record.from, .to = socket.local_endpoint(error)};
  const auto refuse = [&](const Error& why) {
    record.how = "refused";
    spdlog::info("{}: {}: {}", parts_->config.name, to_text(record.from), why.message());
  };
  std::optional<Address> destination;
  if (parts_->own_ports) {
    auto meant = diverted(socket.native_handle(), ends.from, parts_->config, *parts_->own_ports);
    if (!meant) co_return refuse(meant.error());
    destination = address_of(*meant);
    ends.to = std::move(*meant);
  }
  auto application = co_await greet(std::move(socket), guard, ends, record.application);
  record.from = ends.from;
  if (!application) co_return refuse(application.error());
  Client client{.from = ends.from,
                .preface = proxy_header(parts_->config.upstream.send_proxy_protocol, ends),
                .destination = std::move(destination),
                .from_here = !guard.can_be_stale() &&
                             (!parts_->config.accept_proxy_protocol || is_local(ends.from))};
  // Each makes its session before it waits for anything.
  host_.next_record = &record;
  switch (parts_->config.protocol) {
    case Protocol::kTcp:
      co_return co_await serve_tcp(host_, std::move(*application), std::move(client));
    case Protocol::kRedis:
      co_return co_await redis::serve(host_, std::move(*application), std::move(client));
    case Protocol::kHttp:
      co_return co_await http::serve(host_, std::move(*application), std::move(client));
    case Protocol::kPostgres:
      co_return co_await postgres::serve(host_, std::move(*application), std::move(client));
  }
}

void Service::log_access(const SessionRecord& record) const {
  const auto time = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - record.since);
  spdlog::info(
      "access: service={} from={} upstream={} from_application={} to_application={} ms={} "
      "end=\"{}\"",
      parts_->config.name, to_text(record.from),
      record.upstream.size() == 0 ? "-" : to_text(record.upstream), record.application.read_bytes,
      record.application.written_bytes, time.count(), record.how.empty() ? "ended" : record.how);
}

void Service::fence() {
  half_fenced_ = true;
  upstream_.turn_generation();
  take_waiting();
  pool_.fence();
  if (servers_) servers_->fence();
  std::vector<Session*> all(host_.sessions.begin(), host_.sessions.end());
  half_fenced_ = false;
  fence_some(std::move(all));
}

void Service::fence_some(std::vector<Session*> all) {
  const bool before = std::exchange(half_fenced_, true);
  for (std::size_t done = 0; done < kFenceBatch && !all.empty(); ++done) {
    Session* const session = all.back();
    all.pop_back();
    // It may have ended since.
    if (host_.sessions.contains(session)) session->fenced();
  }
  if (!all.empty()) {
    asio::post(loop_.io(), [self = shared_from_this(), rest = std::move(all)]() mutable {
      --self->fencing_;
      self->fence_some(std::move(rest));
    });
    ++fencing_;
  }
  half_fenced_ = before;
}

void Service::look(std::chrono::steady_clock::time_point now) {
  accept_again();
  if (!all_taken_) take_waiting();
  check_health(now);
  // Whoever is held back is not idle, and nothing is closed meanwhile.
  if (gate_.closed()) return;
  pool_.look(now);
  open_idle();
  if (servers_) servers_->look(now);
  const auto idle = parts_->config.idle;
  if (idle.count() == 0 && parts_->config.protocol != Protocol::kHttp) return;
  for (Session* session : std::vector<Session*>(host_.sessions.begin(), host_.sessions.end())) {
    if (!host_.sessions.contains(session)) continue;
    if (idle.count() != 0 && now - session->last_used() > idle) {
      session->ends("idle");
      session->reset();
    } else {
      session->look(now);
    }
  }
}

// Where there was no memory to go on.
void Service::accept_again() {
  for (Listener& listener : listeners_) {
    if (listener.acceptor.is_open() && !listener.accepts)
      spawn(loop_.io(), accept(shared_from_this(), listener));
  }
}

bool Service::listening() const {
  return std::ranges::any_of(listeners_,
                             [](const Listener& listener) { return listener.acceptor.is_open(); });
}

void Service::check_health(std::chrono::steady_clock::time_point now) {
  if (!listening()) return;
  for (const std::size_t address : health_.due(now))
    spawn(loop_.io(), check_address(shared_from_this(), address));
}

Awaitable<void> Service::check_address(std::shared_ptr<Service> kept, std::size_t address) {
  co_await kept->health_.ask(address);
}

// As many as shall wait for their next use at any time.
void Service::open_idle() {
  if (upstream_.parked() || !listening()) return;
  for (std::size_t missing = pool_.missing(); missing != 0; --missing)
    spawn(loop_.io(), open_one_idle(shared_from_this()));
}

Awaitable<void> Service::open_one_idle(std::shared_ptr<Service> /*kept*/) {
  const Pool::Opening opening(pool_);
  asio::steady_timer timer = loop_.timer();
  const bool due = co_await upstream_.wait_for_spread(timer);
  if (!due || upstream_.parked() || upstream_.full()) co_return;
  const bool urgent = false;
  const Upstream::Wish wish{.hold = parts_->config.hold, .urgent = &urgent};
  auto connected = co_await upstream_.connect(wish);
  if (connected) {
    pool_.keep(std::move(*connected), {});
  } else {
    spdlog::info("{}: no idle connection: {}", parts_->config.name, connected.error().message());
  }
}

void Service::reset_all() {
  for (Session* session : std::vector<Session*>(host_.sessions.begin(), host_.sessions.end())) {
    if (!host_.sessions.contains(session)) continue;
    session->ends("stopped");
    session->reset();
  }
}

void Service::park(bool part) {
  hold_applications(Gate::Reason::kParked);
  upstream_.park();
  health_.stop();
  if (servers_) servers_->park(part);
  if (!part) return;
  upstream_.forget_tickets();
  for (std::shared_ptr<Stream>& stream : pool_.take_all())
    spawn(loop_.io(), part_from(std::move(stream)));
  for (Session* session : std::vector<Session*>(host_.sessions.begin(), host_.sessions.end())) {
    if (host_.sessions.contains(session)) session->park();
  }
}

// Upstreams first: what applications sent may need one at once.
void Service::unpark() {
  upstream_.unpark();
  if (servers_) servers_->unpark();
  release_applications(Gate::Reason::kParked);
}

ServiceCounts Service::counts() const {
  ServiceCounts all = host_.counts;
  all.fenced += pool_.fenced();
  if (servers_) {
    all.fenced += servers_->counts().fenced;
    all.waited += servers_->counts().waited;
    all.timed_out += servers_->counts().timed_out;
  }
  return all;
}

ServiceCensus Service::census() const {
  const ServiceConfig& config = parts_->config;
  ServiceCensus census{.name = config.name,
                       .listen = {},
                       .upstream = {},
                       .upstream_tls = config.upstream.tls.has_value(),
                       .sessions = session_count(),
                       .max_sessions = config.max_sessions,
                       .counts = counts(),
                       .upstream_counts = upstream_.counts(),
                       .breakers_open = upstream_.breaker_open() ? 1U : 0U,
                       .applications = ended_,
                       .upstreams = upstream_.traffic(),
                       .commands_running = host_.commands_running};
  for (const Address& address : config.listen) census.listen.push_back(address.text());
  census.checks = health_.asked();
  census.failed_checks = health_.failed();
  for (std::size_t i = 0; i < config.upstream.addresses.size(); ++i) {
    census.upstream.push_back(config.upstream.addresses[i].text());
    if (config.upstream.check) census.down[census.upstream.back()] = upstream_.down(i) ? 1 : 0;
  }
  for (const Network& network : config.destinations) census.upstream.push_back(network.text());
  for (const SessionRecord* record : records_) census.applications += record->application;
  return census;
}

std::vector<SessionCensus> Service::sessions(std::size_t limit) const {
  const auto now = std::chrono::steady_clock::now();
  std::vector<SessionCensus> all;
  for (const SessionRecord* record : records_) {
    if (all.size() >= limit) break;
    all.push_back(
        {.service = parts_->config.name,
         .from = to_text(record->from),
         .upstream = record->upstream.size() == 0 ? std::string() : to_text(record->upstream),
         .age = std::chrono::duration_cast<std::chrono::milliseconds>(now - record->since),
         .from_application = record->application.read_bytes,
         .to_application = record->application.written_bytes});
  }
  return all;
}

}  // namespace clonesafe::proxy
