#include "guest_agent/hooks/http_hooks.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "guest_agent/base/elapsed.h"
#include "guest_agent/control/await.h"

namespace clonesafe::agent {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace json = boost::json;

constexpr std::size_t kLongestAnswer = std::size_t{64} * 1024;

http::request<http::string_body> request_of(const HttpHook& hook, const HookEvent& event) {
  http::request<http::string_body> request(http::verb::post, hook.path(event.phase), 11);
  request.set(http::field::host, "127.0.0.1:" + std::to_string(hook.port));
  request.set(http::field::user_agent, "clonesafed");
  request.set(http::field::content_type, "application/json");
  request.set(http::field::connection, "close");
  request.body() = json::serialize(json::object{{"phase", std::string(name_of(event.phase))},
                                                {"cause", event.cause},
                                                {"generation", hex(event.restore.generation)},
                                                {"reseed_epoch", hex(event.restore.reseed_epoch)},
                                                {"restore_id", hex(event.restore.restore_id)}});
  request.prepare_payload();
  return request;
}

}  // namespace

class HttpHooks::Impl : public std::enable_shared_from_this<HttpHooks::Impl> {
 public:
  Impl(asio::io_context& io, std::vector<HttpHook> hooks) : io_(io), hooks_(std::move(hooks)) {}

  std::vector<HttpHook> hooks_of(HookPhase phase) const {
    std::vector<HttpHook> told;
    for (const HttpHook& hook : hooks_) {
      if (!hook.path(phase).empty()) told.push_back(hook);
    }
    if (phase == HookPhase::kBeforeSnapshot) std::ranges::reverse(told);
    return told;
  }

  void run(const HookEvent& event, Done done) {
    cancel();
    done_ = std::move(done);
    asio::co_spawn(
        io_,
        [self = shared_from_this(), event, turn = turn_]() -> asio::awaitable<void> {
          co_await self->run_all(event, turn);
        },
        asio::detached);
  }

  void cancel() {
    ++turn_;
    done_ = nullptr;
    if (stream_ != nullptr) stream_->cancel();
  }

 private:
  asio::awaitable<void> run_all(HookEvent event, std::uint64_t turn) {
    std::vector<RepairResult> results;
    for (const HttpHook& hook : hooks_of(event.phase)) {
      if (turn != turn_) co_return;
      const auto start = std::chrono::steady_clock::now();
      std::string problem = co_await tell(hook, event);
      results.push_back({.name = "http " + hook.name,
                         .outcome = problem.empty() ? Outcome::kOk : Outcome::kFailed,
                         .us = microseconds_since(start),
                         .detail = std::move(problem)});
    }
    if (turn != turn_) co_return;
    if (const Done done = std::exchange(done_, nullptr)) done(std::move(results));
  }

  // What went wrong; empty: nothing.
  asio::awaitable<std::string> tell(const HttpHook& hook, const HookEvent& event) {
    const auto stream = std::make_shared<beast::tcp_stream>(io_);
    stream_ = stream;
    stream->expires_after(hook.deadline);
    const std::string where =
        "127.0.0.1:" + std::to_string(hook.port) + hook.path(event.phase) + ": ";
    const auto problem = [&](const boost::system::error_code& error) {
      return where + (error == beast::error::timeout
                          ? "no answer within " + std::to_string(hook.deadline.count()) + " ms"
                          : error.message());
    };
    const asio::ip::tcp::endpoint endpoint(asio::ip::address_v4::loopback(), hook.port);
    if (const auto [error] = co_await stream->async_connect(endpoint, kAwait); error)
      co_return problem(error);
    const auto request = request_of(hook, event);
    if (const auto [error, size] = co_await http::async_write(*stream, request, kAwait); error)
      co_return problem(error);
    beast::flat_buffer buffer(kLongestAnswer);
    http::response_parser<http::string_body> parser;
    parser.body_limit(kLongestAnswer);
    if (const auto [error, size] = co_await http::async_read(*stream, buffer, parser, kAwait);
        error)
      co_return problem(error);
    const unsigned status = parser.get().result_int();
    if (status / 100 != 2) co_return where + "answer " + std::to_string(status);
    co_return std::string();
  }

  asio::io_context& io_;
  const std::vector<HttpHook> hooks_;
  std::shared_ptr<beast::tcp_stream> stream_;
  std::uint64_t turn_ = 0;
  Done done_;
};

HttpHooks::HttpHooks(asio::io_context& io, std::vector<HttpHook> hooks)
    : impl_(std::make_shared<Impl>(io, std::move(hooks))) {}
HttpHooks::~HttpHooks() {
  impl_->cancel();
}
bool HttpHooks::any(const HookEvent& event) {
  return !impl_->hooks_of(event.phase).empty();
}
void HttpHooks::run(const HookEvent& event, Done done) {
  if (!any(event)) return done({});
  impl_->run(event, std::move(done));
}
void HttpHooks::cancel() {
  impl_->cancel();
}

}  // namespace clonesafe::agent
