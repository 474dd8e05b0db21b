#include "proxy/protocols/http/http.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <string>

#include "proxy/core/bytes.h"
#include "proxy/core/spawn.h"
#include "proxy/protocols/http/deadline.h"
#include "proxy/protocols/http/rewrite.h"
#include "proxy/protocols/tcp/relay.h"
#include "proxy/wire/http1/body_framer.h"
#include "proxy/wire/http1/error_response.h"
#include "proxy/wire/http1/head_reader.h"

namespace clonesafe::proxy::http {
namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using wire::http1::Body;
using wire::http1::BodyFramer;
using wire::http1::HeadReader;
using wire::http1::Method;
using wire::http1::ResponseHead;
using wire::http1::Version;

// So much of a request's body is kept, to be sent a second time.
constexpr std::size_t kMaxKept = std::size_t{64} * 1024;
// After the last response, for what the application sends still: a reset that answers it could
// reach the application before the response.
constexpr std::chrono::milliseconds kLinger{2'000};
constexpr std::uint32_t kRetryAfter = 1;

// An idle application costs little memory, whatever it sent.
void release(std::string& text) {
  constexpr std::size_t kKept = 4096;
  if (text.capacity() > kKept) text.shrink_to_fit();
}

Awaitable<void> say_and_close(std::shared_ptr<Stream> stream, std::string text) {
  [[maybe_unused]] const Status sent = co_await stream->write(bytes_of(text));
  stream->close();
}

class HttpSession final : public Session {
 public:
  HttpSession(SessionHost& host, std::unique_ptr<Stream> application, Client client)
      : Session(host, std::move(client)),
        application_(std::move(application)),
        requests_({.size = host.config.http.max_head}),
        body_wake_(host.loop.timer()) {}

  Awaitable<void> run() {
    do {
      goes_on_ = false;
      const bool there_is_one = co_await read_request();
      if (there_is_one) co_await serve_request();
    } while (goes_on_ && !ended_);
    if (finished_ && !ended_) co_await drain();
    application_->close();
    if (upstream_) upstream_->close();
  }

  void fenced() override {
    if (application_->stale()) return end();
    // Whoever waits for it is woken, and does the rest.
    if (upstream_ && upstream_->stale()) upstream_->close();
  }
  void reset() override { end(); }
  // A connection that nothing is under way on is the pool's.
  void park() override {}
  void look(std::chrono::steady_clock::time_point now) override {
    if (ended_) return;
    if (read_limit_.over(now)) return reading_took_too_long();
    if (write_limit_.over(now)) return end();
    if (response_limit_.over(now) || upload_limit_.over(now)) give_up(504);
  }

 private:
  enum class Reading { kNothing, kHead, kBody, kRest };
  enum class Outcome {
    kDone,
    kLost,  // the connection to the upstream; its response isn't complete
    kBad    // what came is no response
  };
  const HttpConfig& limits() const { return host().config.http; }

  // --- From the application. ---

  // False: there is no further one. What can't be read was answered.
  Awaitable<bool> read_request() {
    begun_ = final_ = false;
    kept_.clear();
    release(kept_);
    release(input_);
    reading_ = Reading::kNothing;
    if (limits().keep_alive.count() != 0) read_limit_.in(limits().keep_alive);
    for (;;) {
      if (!input_.empty()) {
        const auto head = requests_.read_request(input_);
        if (!head) {
          co_await refuse(requests_.refusal_status(), head.error());
          co_return false;
        }
        if (*head != nullptr) {
          read_limit_.off();
          auto request = take_request(**head, host().config, client().from);
          if (!request) {
            co_await refuse(400, request.error());
            co_return false;
          }
          input_.erase(0, (*head)->size);
          request_ = std::move(*request);
          co_return true;
        }
        if (reading_ == Reading::kNothing) read_limit_.in(limits().request_timeout);
        reading_ = Reading::kHead;
      }
      const auto count = co_await application_->read(host().loop.scratch());
      if (ended_ || !count || *count == 0) {
        ends(count ? "ended" : "application failed");
        co_return false;
      }
      use();
      input_ += view_of(host().loop.scratch().first(*count));
    }
  }

  Awaitable<void> refuse(std::uint16_t status, const Error& why) {
    spdlog::info("{}: {}: {}", host().config.name, to_text(client().from), why.message());
    request_ = {};
    co_await give_error(status);
  }

  Awaitable<void> serve_request() {
    goes_on_ = request_.persistent;
    failure_ = 0;
    kept_whole_ = true;
    body_.emplace(request_.body);
    body_done_ = body_->ended();
    if (request_.method == Method::kConnect) co_return co_await give_error(501);
    if (limits().max_body != 0 && request_.body.length > limits().max_body)
      co_return co_await give_error(413);
    if (!body_done_ && !input_.empty()) {
      const auto size = take_body(input_);
      if (!size) co_return co_await give_error(failure_);
      input_.erase(0, *size);
    }
    if (body_done_) {
      co_await answer();
    } else {
      co_await (send_body() && answer());
    }
  }

  // The size of what belongs to the body. An error: `failure_` says which.
  Result<std::size_t> take_body(std::string_view bytes) {
    const auto part = body_->next(bytes);
    if (!part) {
      spdlog::info("{}: {}: {}", host().config.name, to_text(client().from),
                   part.error().message());
      failure_ = 400;
      return fail(part.error());
    }
    if (limits().max_body != 0 && body_->content_size() > limits().max_body) {
      failure_ = 413;
      return fail("a body over its limit");
    }
    body_done_ = part->last;
    if (kept_whole_) {
      kept_ += bytes.substr(0, part->size);
      kept_whole_ = kept_.size() <= kMaxKept;
    }
    return part->size;
  }

  // While the response may come already.
  Awaitable<void> send_body() {
    while (!body_done_ && !ended_ && !finished_) {
      // Until then answer() writes to it, all that was kept.
      if (!ready_ || failure_ != 0) {
        body_wake_.expires_at(asio::steady_timer::time_point::max());
        co_await body_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
        continue;
      }
      reading_ = Reading::kBody;
      if (!waits_for_continue_) read_limit_.in(limits().request_timeout);
      const auto count = co_await application_->read(host().loop.scratch());
      if (ended_ || finished_) co_return;
      read_limit_.off();
      if (!count || *count == 0) {
        ends("application failed");
        co_return end();
      }
      use();
      if (waits_for_continue_) response_limit_.off();
      waits_for_continue_ = false;
      std::string_view bytes = view_of(host().loop.scratch().first(*count));
      if (!input_.empty()) {
        input_ += bytes;
        bytes = input_;
      }
      const auto size = take_body(bytes);
      if (!size) {
        give_up(failure_);
        continue;
      }
      std::string rest(bytes.substr(*size));
      co_await send_part(bytes.substr(0, *size));
      input_ = std::move(rest);
    }
  }

  Awaitable<void> send_part(std::string_view bytes) {
    const auto stream = upstream_;
    // If it was lost meanwhile, the next one gets what is kept.
    if (!ready_ || stream.get() == broken_) co_return;
    if (!kept_whole_) kept_ = {};
    upload_limit_.in(limits().response_timeout);
    const auto sent = co_await stream->write(bytes_of(bytes));
    upload_limit_.off();
    if (ended_ || stream != upstream_) co_return;
    if (!sent) {
      // There may be a response nevertheless, but not on a stale one.
      broken_ = stream.get();
      if (stream->stale()) stream->close();
    }
    if (!body_done_) co_return;
    if (sent) sent_whole_ = stream.get();
    if (!final_) response_limit_.in(limits().response_timeout);
  }

  Awaitable<void> drain() {
    for (;;) {
      const auto count = co_await application_->read(host().loop.scratch());
      if (ended_ || !count || *count == 0) co_return;
    }
  }

  // --- From the upstream. ---

  Awaitable<void> answer() {
    bool repeated = false;
    while (!ended_) {
      auto stream = host().pool.take(client().upstream_key());
      if (!stream) {
        auto connected = co_await connect();
        if (ended_) co_return;
        if (failure_ != 0) co_return co_await give_error(failure_);
        if (!connected) co_return co_await give_error(503);
        stream = std::move(*connected);
        // Not a byte of the request is on it.
        if (stream->stale()) continue;
      }
      upstream_ = stream;
      const Outcome outcome = co_await attempt(stream);
      ready_ = false;
      response_limit_.off();
      if (ended_ || outcome == Outcome::kDone) co_return;
      const bool stale = stream->stale();
      if (stale) ++host().counts.fenced;
      stream->close();
      upstream_ = nullptr;
      if (failure_ != 0) co_return co_await give_error(failure_);
      const bool may_repeat = is_idempotent(request_.method) && kept_whole_ && !begun_;
      if (outcome == Outcome::kBad || !may_repeat || (repeated && !stale)) {
        ends(stale ? "cloned" : "upstream failed");
        co_return co_await give_error(502);
      }
      if (stale) {
        ++host().counts.reopened;
      } else {
        repeated = true;
      }
    }
  }

  Awaitable<Outcome> attempt(std::shared_ptr<Stream> stream) {
    broken_ = sent_whole_ = nullptr;
    response_limit_.in(limits().response_timeout);
    std::size_t sent = kept_.size();
    Status written;
    if (sent == 0) {
      written = co_await stream->write(bytes_of(request_.head));
    } else {
      const std::string first = request_.head + kept_;
      written = co_await stream->write(bytes_of(first));
    }
    // What came meanwhile.
    while (written && !ended_ && sent < kept_.size()) {
      const std::string more = kept_.substr(sent);
      sent = kept_.size();
      written = co_await stream->write(bytes_of(more));
    }
    if (ended_ || !written) co_return Outcome::kLost;
    ready_ = true;
    waits_for_continue_ = request_.expects_continue && kept_.empty();
    if (body_done_) {
      sent_whole_ = stream.get();
    } else if (!waits_for_continue_) {
      response_limit_.off();
    }
    body_wake_.cancel();
    co_return co_await read_response(stream);
  }

  Awaitable<Outcome> read_response(std::shared_ptr<Stream> stream) {
    std::string input;
    HeadReader reader({.size = limits().max_head});
    for (;;) {
      const auto head = reader.read_response(
          input, {.method = request_.method, .offered_upgrade = request_.offers_upgrade});
      if (!head) co_return bad_response(head.error());
      if (*head == nullptr) {
        const auto count = co_await stream->read(host().loop.scratch());
        if (ended_ || !count || *count == 0) co_return Outcome::kLost;
        use();
        input += view_of(host().loop.scratch().first(*count));
      } else if ((*head)->interim()) {
        std::string out;
        // HTTP/1.0 has none.
        if (request_.version == Version::kHttp11) {
          if (auto appended = append_response(out, **head, request_, false); !appended)
            co_return bad_response(appended.error());
        }
        input.erase(0, (*head)->size);
        waits_for_continue_ = false;
        response_limit_.off();
        if (body_done_) {
          response_limit_.in(limits().response_timeout);
        } else if (reading_ == Reading::kBody) {
          read_limit_.in(limits().request_timeout);
        }
        if (!co_await give(out)) co_return Outcome::kLost;
      } else if ((*head)->body.kind == Body::Kind::kTunnel) {
        co_return co_await tunnel(stream, **head, input);
      } else {
        co_return co_await pass_on(stream, **head, input);
      }
    }
  }

  Outcome bad_response(const Error& why) {
    spdlog::warn("{}: the upstream of {}: {}", host().config.name, to_text(client().from),
                 why.message());
    return Outcome::kBad;
  }

  // `head` is a view of `input`.
  Awaitable<Outcome> pass_on(std::shared_ptr<Stream> stream, const ResponseHead& head,
                             const std::string& input) {
    response_limit_.off();
    // It could not be told where it ends.
    if (head.body.kind == Body::Kind::kChunked && request_.version == Version::kHttp10)
      co_return bad_response(Error("response: chunks to a request of HTTP/1.0"));
    if (!body_done_ || head.body.kind == Body::Kind::kUntilClose) goes_on_ = false;
    std::string out;
    if (auto appended = append_response(out, head, request_, goes_on_); !appended)
      co_return bad_response(appended.error());
    BodyFramer body(head.body);
    const auto first = body.next(std::string_view(input).substr(head.size));
    if (!first) co_return bad_response(first.error());
    out.append(input, head.size, first->size);
    // Of a chunk's line, or what nobody asked for.
    std::string rest = input.substr(head.size + first->size);
    final_ = true;
    if (!co_await give(out)) co_return Outcome::kLost;
    while (!body.ended()) {
      response_limit_.in(limits().response_timeout);
      const auto count = co_await stream->read(host().loop.scratch());
      response_limit_.off();
      if (ended_ || !count) co_return Outcome::kLost;
      if (*count == 0) {
        if (auto complete = body.finish(); !complete) co_return bad_response(complete.error());
        break;
      }
      use();
      std::string_view bytes = view_of(host().loop.scratch().first(*count));
      if (!rest.empty()) {
        rest += bytes;
        bytes = rest;
      }
      const auto part = body.next(bytes);
      if (!part) co_return bad_response(part.error());
      std::string left(bytes.substr(part->size));
      const bool given = co_await give(bytes.substr(0, part->size));
      rest = std::move(left);
      if (!given) co_return Outcome::kLost;
    }
    upstream_ = nullptr;
    if (head.persistent && rest.empty() && sent_whole_ == stream.get()) {
      host().pool.keep(std::move(stream), client().upstream_key());
    } else {
      stream->close();
    }
    if (!goes_on_) co_await finish();
    co_return Outcome::kDone;
  }

  // Another protocol from here on.
  Awaitable<Outcome> tunnel(std::shared_ptr<Stream> stream, const ResponseHead& head,
                            const std::string& input) {
    response_limit_.off();
    std::string out;
    if (auto appended = append_response(out, head, request_, true); !appended)
      co_return bad_response(appended.error());
    out.append(input, head.size);
    final_ = true;
    if (!co_await give(out)) co_return Outcome::kLost;
    std::vector<std::byte> first(bytes_of(input_).begin(), bytes_of(input_).end());
    goes_on_ = false;
    // A variable: GCC 12 destroys what is made in braces in such an expression twice.
    RelayWatch watch{.used = [this](Direction /*direction*/) { use(); },
                     .gone = [stream] { return stream->stale(); }};
    const RelayEnd end = co_await relay(host().loop, *application_, *stream, std::move(watch),
                                        WhenStale::kReset, first);
    if (end == RelayEnd::kStale || end == RelayEnd::kStaleInTheMiddle) ++host().counts.fenced;
    stream->close();
    upstream_ = nullptr;
    ended_ = true;
    co_return Outcome::kDone;
  }

  // --- To the application. ---

  // False: it is gone, and so is the session.
  Awaitable<bool> give(std::string_view bytes) {
    if (ended_) co_return false;
    if (bytes.empty()) co_return true;
    begun_ = true;
    write_limit_.in(limits().response_timeout);
    const auto given = co_await application_->write(bytes_of(bytes));
    write_limit_.off();
    if (!given) end();
    co_return given && !ended_;
  }

  // An answer of the proxy's own, and the connection's end. Half a response can't be taken back.
  Awaitable<void> give_error(std::uint16_t status) {
    ends(status == 504 ? "upstream failed" : "refused");
    if (final_) co_return end();
    goes_on_ = false;
    std::string out;
    wire::http1::append_error_response(
        out, {.status = status,
              .method = request_.head.empty() ? std::nullopt : std::optional(request_.method),
              .retry_after = status == 503 ? std::optional(kRetryAfter) : std::nullopt});
    if (co_await give(out)) co_await finish();
  }

  // Nothing more will be said. What the application sends still is read and dropped for a while.
  Awaitable<void> finish() {
    finished_ = true;
    reading_ = Reading::kRest;
    read_limit_.in(kLinger);
    body_wake_.cancel();
    if (auto said = co_await application_->finish(); !said) end();
  }

  // Whoever waits for the upstream is woken, and answers with `status`.
  void give_up(std::uint16_t status) {
    failure_ = status;
    response_limit_.off();
    upload_limit_.off();
    if (upstream_) upstream_->close();
  }

  void reading_took_too_long() {
    read_limit_.off();
    switch (reading_) {
      case Reading::kNothing:
      case Reading::kRest:
        return application_->close();
      case Reading::kHead: {
        std::string text;
        wire::http1::append_error_response(text, {.status = 408, .method = {}, .retry_after = {}});
        ended_ = true;
        spawn(host().loop.io(), say_and_close(application_, std::move(text)));
        return;
      }
      case Reading::kBody:
        return give_up(408);
    }
  }

  void end() {
    ended_ = true;
    application_->reset();
    if (upstream_) upstream_->close();
    body_wake_.cancel();
  }

  const std::shared_ptr<Stream> application_;
  HeadReader requests_;
  std::string input_;  // of the application, that isn't read yet
  bool ended_ = false;
  // Nothing more will be written to the application.
  bool finished_ = false;
  bool goes_on_ = false;
  Reading reading_ = Reading::kNothing;
  Deadline read_limit_, write_limit_, response_limit_, upload_limit_;

  Request request_;
  std::optional<BodyFramer> body_;
  bool body_done_ = false;  // all of it came
  // What came of it, as long as it is all.
  std::string kept_;
  bool kept_whole_ = false;
  bool waits_for_continue_ = false;
  bool begun_ = false;         // a byte of a response has been given, be it an interim one
  bool final_ = false;         // one of the response itself
  std::uint16_t failure_ = 0;  // what to answer when the upstream is let go of
  asio::steady_timer body_wake_;

  // Null: none now. Whoever waits for it keeps it.
  std::shared_ptr<Stream> upstream_;
  bool ready_ = false;                  // it has all that came until now
  const Stream* broken_ = nullptr;      // it takes no more
  const Stream* sent_whole_ = nullptr;  // it took all
};

}  // namespace

Awaitable<void> serve(SessionHost& host, std::unique_ptr<Stream> application, Client client) {
  HttpSession session(host, std::move(application), std::move(client));
  co_await session.run();
}

}  // namespace clonesafe::proxy::http
