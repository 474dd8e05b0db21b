#include "proxy/protocols/redis/redis.h"

#include <openssl/crypto.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <string>

#include "proxy/core/bytes.h"
#include "proxy/core/spawn.h"
#include "proxy/protocols/redis/dialogue.h"

namespace clonesafe::proxy::redis {
namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;

// Commands under way, beyond which an application waits. So many and one read more are kept track
// of.
constexpr std::size_t kMostUnderWay = 8192;

class RedisSession final : public Session {
 public:
  RedisSession(SessionHost& host, std::unique_ptr<Stream> application, Client client)
      : Session(host, std::move(client)),
        application_(std::move(application)),
        up_wake_(host.loop.timer()),
        down_wake_(host.loop.timer()) {}

  Awaitable<void> run() { co_await (up() && down()); }

  void fenced() override {
    if (application_->stale()) return reset();
    // Whoever reads from it is woken, and does the rest.
    if (upstream_ && upstream_->stale()) upstream_->close();
  }
  void reset() override { end(); }
  // Subscriptions are there again with the next connection.
  void park() override {
    if (upstream_ && dialogue_.idle()) part();
  }

 private:
  // --- From the application. ---

  Awaitable<void> up() {
    std::string rest;  // a command that isn't all there
    while (!ended_) {
      if (dialogue_.under_way() >= kMostUnderWay) co_await until_there_is_room();
      if (ended_) co_return;
      const auto count = co_await application_->read(host().loop.scratch());
      if (ended_) co_return;
      if (!count) {
        ends("application failed");
        co_return end();
      }
      if (*count == 0) co_return co_await application_finished();
      use();
      std::string_view input = view_of(host().loop.scratch().first(*count));
      if (!rest.empty() || !upstream_is_ready()) {
        rest += input;
        co_await until_connected();
        if (ended_) co_return;
        input = rest;
      }
      Splice commands(input);
      const std::size_t consumed = dialogue_.take_commands(commands);
      std::string left(input.substr(consumed));
      const auto stream = upstream_;
      const bool sent = co_await send(stream, commands.until(consumed));
      rest = std::move(left);
      if (ended_) co_return;
      if (!sent && stream == upstream_) lose();
      if (dialogue_.mistake()) co_return leave_for(*dialogue_.mistake());
    }
  }

  // An application that is far ahead of its server waits.
  Awaitable<void> until_there_is_room() {
    while (!ended_ && dialogue_.under_way() >= kMostUnderWay) {
      up_wake_.expires_at(asio::steady_timer::time_point::max());
      co_await up_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }

  Awaitable<void> until_connected() {
    wants_upstream_ = demanded_ = true;
    while (!ended_ && !upstream_is_ready()) {
      down_wake_.cancel();
      up_wake_.expires_at(asio::steady_timer::time_point::max());
      co_await up_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    wants_upstream_ = false;
  }

  // It sends no more. What it has asked for is answered, and whether what blocks is given up is the
  // server's to say.
  Awaitable<void> application_finished() {
    ends("ended");
    leaves_ = finished_ = true;
    if (dialogue_.under_way() == 0) co_return look_at_leaving();
    if (upstream_is_ready()) co_await finish_upstream();
  }
  Awaitable<void> finish_upstream() {
    const auto stream = upstream_;
    const bool told = (co_await stream->finish()).has_value();
    if (!told && !ended_ && stream == upstream_) lose();
  }

  // What it is told comes behind the answers to all before it.
  void leave_for(const std::string& mistake) {
    ends("refused");
    last_words_ = error_line(mistake);
    leaves_ = true;
    look_at_leaving();
  }

  // Nobody wakes down() if nothing is under way.
  void look_at_leaving() {
    if (dialogue_.under_way() != 0) return;
    if (upstream_is_ready()) part();
    down_wake_.cancel();
  }

  static Awaitable<bool> send(std::shared_ptr<Stream> stream, std::string_view bytes) {
    if (bytes.empty()) co_return true;
    co_return (co_await stream->write(bytes_of(bytes))).has_value();
  }

  // --- From the upstream. ---

  Awaitable<void> down() {
    while (!ended_) {
      if (!co_await give_answers()) co_return end();
      if (ended_) co_return;
      if (leaves_ && dialogue_.under_way() == 0) co_return co_await leave();
      const auto stream = upstream_;
      if (!stream) {
        co_await be_without_upstream();
      } else if (replay_.empty()) {
        co_await hear(stream);
      } else {
        // A server may say no more before its replies are read.
        co_await (say_again(stream) && hear(stream));
      }
    }
  }

  Awaitable<void> hear(std::shared_ptr<Stream> stream) {
    std::string rest;
    while (!ended_ && stream == upstream_) {
      if (leaves_ && dialogue_.under_way() == 0) co_return co_await leave();
      const auto count = co_await stream->read(host().loop.scratch());
      if (ended_ || stream != upstream_) co_return;
      if (!count || *count == 0) {
        const bool last_word = (finished_ || dialogue_.tunnels()) && count && !stream->stale();
        if (last_word) co_return co_await leave();
        co_return lose();
      }
      use();
      std::string_view input = view_of(host().loop.scratch().first(*count));
      if (!rest.empty()) {
        rest += input;
        input = rest;
      }
      Splice replies(input);
      const auto consumed = dialogue_.take_replies(replies);
      if (!consumed) {
        spdlog::warn("{}: the upstream of {}: {}", host().config.name, to_text(client().from),
                     consumed.error().message());
        co_return co_await refuse(consumed.error().message());
      }
      std::string left(input.substr(*consumed));
      const bool written = co_await give(replies.until(*consumed));
      rest = std::move(left);
      if (!written) co_return end();
      if (dialogue_.quits()) co_return co_await leave();
      if (dialogue_.under_way() < kMostUnderWay) up_wake_.cancel();
    }
  }

  // Until there is one, or something else to do.
  Awaitable<void> be_without_upstream() {
    demanded_ = wants_upstream_ || dialogue_.under_way() != 0;
    if (!demanded_ && !dialogue_.subscribed()) {
      down_wake_.expires_at(asio::steady_timer::time_point::max());
      co_await down_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
      co_return;
    }
    bool due = demanded_;
    if (!due) due = co_await host().upstream.wait_for_spread(down_wake_);
    if (due) co_await reconnect();
  }

  Awaitable<bool> give(std::string_view bytes) {
    if (bytes.empty()) co_return true;
    co_return (co_await application_->write(bytes_of(bytes))).has_value();
  }

  // --- From one upstream to the next. ---

  // The connection is gone, or stale. What was under way is sorted out; nothing is sent.
  void lose() {
    if (!upstream_) return;
    if (upstream_->stale()) ++host().counts.fenced;
    upstream_->reset();
    upstream_ = nullptr;
    forget_replay();
    if (!dialogue_.lose()) return end();
    down_wake_.cancel();
  }

  Awaitable<void> reconnect() {
    const Fence::Epoch epoch = host().loop.fence().now();
    auto connected = co_await connect(nullptr, &demanded_);
    if (ended_) co_return;
    if (!connected && !demanded_ && host().loop.fence().now() != epoch) co_return;
    if (!connected) co_return co_await refuse(why_no_upstream());
    std::shared_ptr<Stream> stream(std::move(*connected));
    replay_ = dialogue_.begin_anew();
    if (reconnected_) ++host().counts.reopened;
    reconnected_ = true;
    upstream_ = std::move(stream);
    if (replay_.empty()) co_await begin_with_upstream();
  }

  // Nobody else writes to it meanwhile.
  Awaitable<void> say_again(std::shared_ptr<Stream> stream) {
    const bool sent = co_await send(stream, replay_);
    if (ended_ || stream != upstream_) co_return;
    forget_replay();
    if (!sent) co_return lose();
    co_await begin_with_upstream();
  }
  Awaitable<void> begin_with_upstream() {
    up_wake_.cancel();
    if (leaves_) look_at_leaving();
    if (finished_ && upstream_) co_await finish_upstream();
  }
  // It may have a password.
  void forget_replay() {
    OPENSSL_cleanse(replay_.data(), replay_.size());
    replay_ = {};
  }
  bool upstream_is_ready() const { return upstream_ && replay_.empty(); }

  Awaitable<bool> give_answers() {
    const std::string answers = dialogue_.take_answers();
    co_return co_await give(answers);
  }

  // The protocol's own way to say why a session ends.
  Awaitable<void> refuse(const std::string& why) {
    ends("refused");
    last_words_ = error_line(why);
    co_return co_await leave();
  }

  // Nothing more is to be given.
  Awaitable<void> leave() {
    [[maybe_unused]] const bool given = co_await give(last_words_);
    if (ended_) co_return;
    ended_ = true;
    [[maybe_unused]] const auto told = co_await application_->finish();
    application_->close();
    wake_all();
  }

  void end() {
    ended_ = true;
    application_->reset();
    wake_all();
  }
  // Closes it with a goodbye, and wakes who reads from it.
  void part() {
    spawn(host().loop.io(), part_from(std::exchange(upstream_, nullptr)));
    down_wake_.cancel();
  }
  void wake_all() {
    if (upstream_) upstream_->close();
    up_wake_.cancel();
    down_wake_.cancel();
  }

  std::unique_ptr<Stream> application_;
  // Null: none now. Whoever waits for it keeps it.
  std::shared_ptr<Stream> upstream_;
  std::string replay_;  // what it is told first, until that is written
  asio::steady_timer up_wake_, down_wake_;
  bool ended_ = false;
  bool wants_upstream_ = false;
  bool demanded_ = false;  // the connection that is being opened is waited for
  bool reconnected_ = false;
  bool leaves_ = false;     // nothing more is taken from the application
  bool finished_ = false;   // as it sends no more
  std::string last_words_;  // what it gets at its end

  Dialogue dialogue_;
};

}  // namespace

Awaitable<void> serve(SessionHost& host, std::unique_ptr<Stream> application, Client client) {
  RedisSession session(host, std::move(application), std::move(client));
  co_await session.run();
}

}  // namespace clonesafe::proxy::redis
