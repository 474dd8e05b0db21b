#include "guest_agent/metrics/metrics_server.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>

#include "guest_agent/control/await.h"
#include "guest_agent/control/listen.h"

namespace clonesafe::agent {
namespace {

namespace asio = boost::asio;
using Local = asio::local::stream_protocol;
using boost::system::error_code;

constexpr ClientLimits kScrapers = {.all = 16, .of_user = 8};
constexpr std::size_t kLongestHead = 4096;
constexpr std::chrono::seconds kScrapeTime{5};

std::string http_message(std::string_view status, std::string_view body,
                         std::string_view more_headers = {}) {
  std::string text = "HTTP/1.1 ";
  text.append(status).append("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
  text.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  return text.append(more_headers).append("Connection: close\r\n\r\n").append(body);
}

std::string bad_request() {
  return http_message("400 Bad Request", "not a request of HTTP/1.x\n");
}

bool is_whole(std::string_view request) {
  return request.find("\r\n\r\n") != std::string_view::npos ||
         request.find("\n\n") != std::string_view::npos;
}

}  // namespace

std::string http_answer(std::string_view request, const MetricsServer::Render& render) {
  const std::string_view line = request.substr(0, request.find_first_of("\r\n"));
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == 0 || last <= first + 1) return bad_request();
  const std::string_view path = line.substr(first + 1, last - first - 1);
  if (path.find(' ') != std::string_view::npos || !line.substr(last + 1).starts_with("HTTP/1."))
    return bad_request();
  if (line.substr(0, first) != "GET")
    return http_message("405 Method Not Allowed", "only GET\n", "Allow: GET\r\n");
  const std::string_view name = path.substr(0, path.find('?'));
  if (name != "/metrics" && name != "/") return http_message("404 Not Found", "only /metrics\n");
  return http_message("200 OK", render());
}

class MetricsServer::Impl : public std::enable_shared_from_this<MetricsServer::Impl> {
 public:
  Impl(asio::io_context& io, Render render) : acceptor_(io), render_(std::move(render)) {}

  Status listen(const std::string& path) { return listen_for_all(acceptor_, path); }

  void start() {
    asio::co_spawn(acceptor_.get_executor(),
                   accept_clients(acceptor_, kScrapers,
                                  [self = shared_from_this()](Local::socket socket, ucred) {
                                    return self->serve(std::move(socket));
                                  }),
                   asio::detached);
  }

  void stop() {
    error_code ignored;
    (void)acceptor_.close(ignored);
  }

 private:
  asio::awaitable<void> serve(Local::socket socket) {
    // The socket lives in a shared place, so that the timer may close it at any moment.
    const auto client = std::make_shared<Local::socket>(std::move(socket));
    asio::steady_timer patience(client->get_executor(), kScrapeTime);
    patience.async_wait([client](const error_code& error) {
      error_code ignored;
      if (!error) (void)client->close(ignored);
    });
    std::string request;
    std::array<char, 1024> block = {};
    while (!is_whole(request) && request.size() < kLongestHead) {
      const std::size_t room = std::min(block.size(), kLongestHead - request.size());
      const auto [error, size] =
          co_await client->async_read_some(asio::buffer(block.data(), room), kAwait);
      if (error == asio::error::eof && !request.empty()) break;
      if (error) co_return;
      request.append(block.data(), size);
    }
    const std::string text = is_whole(request) ? http_answer(request, render_) : bad_request();
    co_await asio::async_write(*client, asio::buffer(text), kAwait);
  }

  Local::acceptor acceptor_;
  const Render render_;
};

Result<std::unique_ptr<MetricsServer>> MetricsServer::open(asio::io_context& io,
                                                           const std::string& path, Render render) {
  auto impl = std::make_shared<Impl>(io, std::move(render));
  if (auto listening = impl->listen(path); !listening) return fail(std::move(listening.error()));
  impl->start();
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(impl)));
}

MetricsServer::~MetricsServer() {
  impl_->stop();
}

}  // namespace clonesafe::agent
