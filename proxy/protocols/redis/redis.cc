#include "proxy/protocols/redis/redis.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <string>

#include "proxy/core/bytes.h"
#include "proxy/protocols/redis/sent.h"
#include "proxy/protocols/redis/shadow.h"
#include "proxy/wire/resp/builder.h"
#include "proxy/wire/resp/command_arguments.h"
#include "proxy/wire/resp/command_framer.h"
#include "proxy/wire/resp/value_reader.h"

namespace clonesafe::proxy::redis {
namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using wire::resp::CommandFramer;
using wire::resp::CommandInfo;
using wire::resp::CommandPart;
using wire::resp::ReplyFramer;
using wire::resp::ReplyPart;

std::string error_line(const std::string& text) {
  std::string line;
  wire::resp::append_error(line, "ERR clonesafe-proxy: " + text);
  return line;
}

std::string name_of(const CommandInfo& command) {
  return command.name.empty() ? "the command" : std::string(command.name);
}

// Whether sending it twice is the same as sending it once, and what it gives isn't used up.
bool repeatable(const CommandInfo& command) {
  switch (command.command) {
    case Command::kAsking:
    case Command::kAuth:
    case Command::kClient:
    case Command::kHello:
    case Command::kMulti:
    case Command::kPatternSubscribe:
    case Command::kPatternUnsubscribe:
    case Command::kPing:
    case Command::kReadOnly:
    case Command::kReadWrite:
    case Command::kReset:
    case Command::kSelect:
    case Command::kShardSubscribe:
    case Command::kShardUnsubscribe:
    case Command::kSubscribe:
    case Command::kUnsubscribe:
    case Command::kUnwatch:
    case Command::kWatch:
    case Command::kQuit:
      return true;
    default:
      return command.has(wire::resp::kRetryable) && !command.has(wire::resp::kBlocks);
  }
}

bool subscribes(Command command) {
  return command == Command::kSubscribe || command == Command::kPatternSubscribe ||
         command == Command::kShardSubscribe;
}
bool unsubscribes(Command command) {
  return command == Command::kUnsubscribe || command == Command::kPatternUnsubscribe ||
         command == Command::kShardUnsubscribe;
}
PushKind kind_of(Command command) {
  switch (command) {
    case Command::kPatternUnsubscribe:
    case Command::kPatternSubscribe:
      return PushKind::kPatternUnsubscribe;
    case Command::kShardUnsubscribe:
    case Command::kShardSubscribe:
      return PushKind::kShardUnsubscribe;
    default:
      return PushKind::kUnsubscribe;
  }
}

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
    if (!upstream_ || !sent_.empty() || !to_skip_.empty() || confirmations_to_skip_ != 0 ||
        in_transaction_ || transaction_sent_ || watching_ || !shadow_.unrepeatable().empty())
      return;
    asio::co_spawn(host().loop.io(), part_from(std::exchange(upstream_, nullptr)), asio::detached);
    down_wake_.cancel();
  }

 private:
  // --- From the application. ---

  Awaitable<void> up() {
    std::string rest;  // a command that isn't all there
    while (!ended_) {
      const auto count = co_await application_->read(host().loop.scratch());
      if (ended_) co_return;
      if (!count || *count == 0) {
        ends(count ? "ended" : "application failed");
        co_return end();
      }
      use();
      std::string_view input = view_of(host().loop.scratch().first(*count));
      if (!rest.empty() || !upstream_) {
        rest += input;
        co_await until_connected();
        if (ended_) co_return;
        input = rest;
      }
      std::string altered;
      const auto taken = take_commands(input, altered);
      if (!taken) co_return co_await refuse(taken.error().message());
      std::string left(input.substr(taken->consumed));
      const auto stream = upstream_;
      const bool sent = co_await send(
          stream, taken->altered ? std::string_view(altered) : input.substr(0, taken->consumed));
      rest = std::move(left);
      if (!sent && stream == upstream_) lose();
      // Answers that no server is asked for.
      if (!sent_.empty() && !sent_.front().answer.empty()) {
        if (!co_await give_answers()) co_return end();
      }
    }
  }

  Awaitable<void> until_connected() {
    wants_upstream_ = demanded_ = true;
    while (!ended_ && !upstream_) {
      down_wake_.cancel();
      up_wake_.expires_at(asio::steady_timer::time_point::max());
      co_await up_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    wants_upstream_ = false;
  }

  static Awaitable<bool> send(std::shared_ptr<Stream> stream, std::string_view bytes) {
    if (bytes.empty()) co_return true;
    co_return (co_await stream->write(bytes_of(bytes))).has_value();
  }

  struct Taken {
    std::size_t consumed = 0;
    bool altered = false;  // what is to be sent is in the other place
  };
  // Notes the commands of an input. What is not to be sent as it came is put in `altered`, with all
  // that is around it.
  Result<Taken> take_commands(std::string_view input, std::string& altered) {
    Taken taken;
    std::size_t copied = 0;
    for (;;) {
      const std::string_view rest = input.substr(taken.consumed);
      if (rest.empty()) break;
      const auto part = commands_.next(rest);
      if (!part) return fail(part.error());
      if (part->size == 0) break;
      const std::string_view bytes = rest.substr(0, part->size);
      const std::optional<std::string> instead = take_part(*part, bytes);
      if (instead) {
        taken.altered = true;
        altered += input.substr(copied, taken.consumed - copied);
        altered += *instead;
        copied = taken.consumed + part->size;
      }
      taken.consumed += part->size;
    }
    if (taken.altered) altered += input.substr(copied, taken.consumed - copied);
    return taken;
  }

  // What to send in its place, if it isn't sent as it is.
  std::optional<std::string> take_part(const CommandPart& part, std::string_view bytes) {
    const CommandInfo& command = *part.command;
    if (command.command == Command::kEmpty) return std::nullopt;
    if (discards_) {
      discards_ = !part.last;
      return "";
    }
    if (part.first) {
      sent_.begin(part.command);
      sent_.last().in_transaction = transaction_sent_ && is_queued(command.command);
    }
    std::optional<std::string> instead;
    if (part.whole() && command.has(wire::resp::kWhole)) instead = take_whole(command, bytes);
    sent_.add(instead ? std::string_view(*instead) : bytes);
    sent_.last().complete = part.last;
    return instead;
  }

  static bool is_queued(Command command) {
    return command != Command::kExec && command != Command::kDiscard &&
           command != Command::kReset && command != Command::kQuit;
  }

  std::optional<std::string> take_whole(const CommandInfo& command, std::string_view bytes) {
    Sent& sent = sent_.last();
    wire::resp::CommandArguments words(bytes);
    while (const auto word = words.next()) sent.arguments.emplace_back(*word);
    const std::size_t channels = sent.arguments.size() - 1;
    if (subscribes(command.command)) {
      sent.confirmations = std::max<std::size_t>(channels, 1);
    } else if (unsubscribes(command.command)) {
      // Without names it is of all that there are, one message each, and one if there are none.
      sent.confirmations = std::max<std::size_t>(
          channels != 0 ? channels : shadow_.subscriptions(kind_of(command.command)), 1);
    } else if (command.command == Command::kClient && silences(sent.arguments)) {
      sent.answer = error_line("CLIENT REPLY OFF and SKIP are not carried");
      return "";
    } else if (command.command == Command::kMulti) {
      transaction_sent_ = true;
    } else if (command.command == Command::kExec) {
      transaction_sent_ = false;
      if (!watch_lost_) return std::nullopt;
      // Nobody knows whether what it watches was changed: as if it had been.
      wire::resp::append_null(sent.substitute, shadow_.protocol());
      if (shadow_.protocol() == Protocol::kResp2) sent.substitute = "*-1\r\n";
      std::string discard;
      wire::resp::append_command(discard, {"DISCARD"});
      return discard;
    } else if (command.command == Command::kDiscard || command.command == Command::kReset) {
      transaction_sent_ = false;
    }
    return std::nullopt;
  }

  static bool silences(const std::vector<std::string>& arguments) {
    return arguments.size() > 2 &&
           wire::resp::find_client_command(arguments[1]) == ClientCommand::kReply &&
           (arguments[2].size() != 2);  // "ON", in any case
  }

  // --- From the upstream. ---

  Awaitable<void> down() {
    std::string rest;
    while (!ended_) {
      const auto stream = upstream_;
      if (!stream) {
        rest.clear();
        if (wants_upstream_ || !sent_.empty()) {
          demanded_ = true;
          co_await reconnect();
        } else if (shadow_.subscribed()) {
          demanded_ = false;
          if (co_await wait_for_spread(down_wake_)) co_await reconnect();
        } else {
          down_wake_.expires_at(asio::steady_timer::time_point::max());
          co_await down_wake_.async_wait(asio::as_tuple(asio::use_awaitable));
        }
        continue;
      }
      const auto count = co_await stream->read(host().loop.scratch());
      if (ended_) co_return;
      if (stream != upstream_) continue;
      if (!count || *count == 0) {
        lose();
        if (!ended_ && !co_await give_answers()) co_return end();
        continue;
      }
      use();
      std::string_view input = view_of(host().loop.scratch().first(*count));
      if (!rest.empty()) {
        rest += input;
        input = rest;
      }
      std::string altered;
      const auto taken = take_replies(input, altered);
      if (!taken) {
        spdlog::warn("{}: the upstream of {}: {}", host().config.name, to_text(client().from),
                     taken.error().message());
        co_return co_await refuse(taken.error().message());
      }
      std::string left(input.substr(taken->consumed));
      const bool written = co_await give(taken->altered ? std::string_view(altered)
                                                        : input.substr(0, taken->consumed));
      rest = std::move(left);
      if (!written) co_return end();
      if (quits_) {
        ends("ended");
        co_return end();
      }
    }
  }

  Awaitable<bool> give(std::string_view bytes) {
    if (bytes.empty()) co_return true;
    co_return (co_await application_->write(bytes_of(bytes))).has_value();
  }

  Result<Taken> take_replies(std::string_view input, std::string& altered) {
    Taken taken;
    std::size_t copied = 0;
    const auto alter = [&](std::size_t until, std::string_view instead, std::size_t skipped) {
      taken.altered = true;
      altered += input.substr(copied, until - copied);
      altered += instead;
      copied = until + skipped;
    };
    for (;;) {
      const std::string_view rest = input.substr(taken.consumed);
      if (rest.empty()) break;
      // In RESP2 only who knows what was asked for can tell a message from a reply.
      replies_->set_subscribed(
          shadow_.subscribed() || confirmations_to_skip_ != 0 ||
          (to_skip_.empty() && !sent_.empty() && sent_.front().confirmations != 0));
      const auto part = replies_->next(
          rest, to_skip_.empty() ? wire::resp::Handling::kPassOn : wire::resp::Handling::kWhole);
      if (!part) return fail(part.error());
      if (part->size == 0) break;
      auto instead = take_reply(*part, rest.substr(0, part->size));
      if (!instead) return fail(instead.error());
      if (*instead) alter(taken.consumed, **instead, part->size);
      taken.consumed += part->size;
      if (std::string answers = take_answers(); !answers.empty()) alter(taken.consumed, answers, 0);
    }
    if (taken.altered) altered += input.substr(copied, taken.consumed - copied);
    return taken;
  }

  // What to give in its place, if it isn't passed on.
  Result<std::optional<std::string>> take_reply(const ReplyPart& part, std::string_view bytes) {
    if (part.push != PushKind::kNone) return take_push(part, bytes);
    if (!to_skip_.empty()) {
      const bool needed = to_skip_.front();
      to_skip_.pop_front();
      if (needed && wire::resp::is_error(part.type)) {
        auto value = wire::resp::ValueReader(bytes).next();
        return fail("the new connection does not take the session: " +
                    (value ? printable(value->text) : std::string("an error")));
      }
      return std::string();
    }
    if (sent_.empty()) {
      if (!shadow_.unrepeatable().empty()) return std::nullopt;
      return fail("a reply that nobody asked for");
    }
    Sent& sent = sent_.front();
    std::optional<std::string> instead;
    if (!sent.substitute.empty()) instead = part.last ? sent.substitute : "";
    sent.began = true;
    if (part.last) finish(part);
    return instead;
  }

  static std::string printable(std::string_view text) {
    std::string line;
    for (const char c : text.substr(0, 200)) line += c < ' ' || c > '~' ? '?' : c;
    return line;
  }

  Result<std::optional<std::string>> take_push(const ReplyPart& part, std::string_view bytes) {
    if (!wire::resp::confirms_subscription(part.push)) return std::nullopt;
    wire::resp::ValueReader reader(bytes);
    std::string channel;
    for (int index = 0; index < 3; ++index) {
      const auto value = reader.next();
      if (!value) return fail(value.error());
      if (index == 2) channel = value->text;
    }
    if (confirmations_to_skip_ != 0) {
      --confirmations_to_skip_;
      return std::string();
    }
    shadow_.confirmed(part.push, channel);
    if (!sent_.empty() && sent_.front().confirmations != 0 && --sent_.front().confirmations == 0)
      sent_.pop();
    return std::nullopt;
  }

  // The front command has its reply.
  void finish(const ReplyPart& part) {
    Sent& sent = sent_.front();
    const bool ok = !wire::resp::is_error(part.type);
    const Command command = sent.command->command;
    if (sent.in_transaction) {
      if (ok) queue(sent);
    } else if (command == Command::kMulti) {
      in_transaction_ = in_transaction_ || ok;
    } else if (command == Command::kExec || (command == Command::kDiscard && ok)) {
      if (command == Command::kExec && part.type == wire::resp::Type::kArray) {
        for (const auto& [done, arguments] : effects_) shadow_.done(done, arguments);
      }
      end_transaction();
    } else if (ok && command == Command::kWatch) {
      watching_ = true;
    } else if (ok && command == Command::kUnwatch) {
      watching_ = watch_lost_ = false;
    } else if (ok) {
      shadow_.done(command, sent.arguments);
      if (command == Command::kReset) end_transaction();
      if (command == Command::kQuit) quits_ = true;
    }
    sent_.pop();
  }

  // The server queued it. If its bytes are known it can be queued again.
  void queue(const Sent& sent) {
    const std::string_view bytes = sent_.bytes_of(sent);
    if (bytes.empty() || queued_.size() + bytes.size() > SentCommands::kMaxKept) {
      queue_lost_ = true;
    } else {
      queued_ += bytes;
      ++queued_count_;
    }
    if (!sent.arguments.empty()) effects_.emplace_back(sent.command->command, sent.arguments);
  }

  void end_transaction() {
    in_transaction_ = watching_ = watch_lost_ = queue_lost_ = false;
    queued_.clear();
    queued_count_ = 0;
    effects_.clear();
  }

  // --- From one upstream to the next. ---

  // The connection is gone, or stale. What was under way is sorted out; nothing is sent.
  void lose() {
    if (!upstream_) return;
    if (upstream_->stale()) ++host().counts.fenced;
    upstream_->reset();
    upstream_ = nullptr;
    if (!shadow_.unrepeatable().empty()) return end();
    to_skip_.clear();
    confirmations_to_skip_ = 0;
    if (watching_ || queue_lost_) watch_lost_ = true;
    for (Sent& sent : sent_.list()) {
      if (!sent.answer.empty()) continue;
      // Half a reply can't be taken back.
      if (sent.began) return end();
      sort_out(sent);
    }
    down_wake_.cancel();
  }

  void sort_out(Sent& sent) {
    const CommandInfo& command = *sent.command;
    const bool kept = sent.size != 0 && !sent_.bytes_of(sent).empty();
    // What never was there whole was not done; what is queued isn't done yet.
    if (kept && (!sent.complete || sent.in_transaction || repeatable(command))) return;
    if (command.command == Command::kDiscard || !sent.substitute.empty()) {
      sent.answer = sent.substitute.empty() ? "+OK\r\n" : sent.substitute;
      end_transaction();
      return;
    }
    if (!sent.complete) {
      discards_ = true;
      sent.complete = true;
      sent.answer = error_line("the connection was lost while " + name_of(command) +
                               " was sent; it was not done");
      return;
    }
    if (command.command == Command::kExec) end_transaction();
    sent.answer = error_line("the connection was lost, as in a clone; whether " + name_of(command) +
                             " was done is not known");
  }

  Awaitable<void> reconnect() {
    const Fence::Epoch epoch = host().loop.fence().now();
    auto connected = co_await connect(nullptr, &demanded_);
    if (ended_) co_return;
    if (!connected && !demanded_ && host().loop.fence().now() != epoch) co_return;
    if (!connected) co_return co_await refuse("no upstream can be reached");
    std::shared_ptr<Stream> stream(std::move(*connected));
    const Shadow::Replay replay = shadow_.replay();
    std::string bytes = replay.commands;
    to_skip_.assign(replay.needed.begin(), replay.needed.end());
    confirmations_to_skip_ = replay.confirmations;
    if (in_transaction_) {
      wire::resp::append_command(bytes, {"MULTI"});
      to_skip_.push_back(true);
      if (!watch_lost_) {
        bytes += queued_;
        to_skip_.insert(to_skip_.end(), queued_count_, false);
      }
    }
    for (Sent& sent : sent_.list()) {
      if (!sent.answer.empty()) continue;
      if (sent.confirmations != 0 && subscribes(sent.command->command)) {
        bytes += rest_of_subscription(sent);
      } else {
        bytes += sent_.bytes_of(sent);
      }
    }
    replies_ = std::make_unique<ReplyFramer>();
    if (reconnected_) ++host().counts.reopened;
    reconnected_ = true;
    if (shadow_.tracking()) tell_of_lost_tracking_ = true;
    // Nobody else writes to it before this is written.
    const bool sent = co_await send(stream, bytes);
    if (ended_ || !sent) co_return;
    upstream_ = std::move(stream);
    if (!co_await give_answers()) co_return end();
    up_wake_.cancel();
  }

  // Without those that are confirmed already.
  static std::string rest_of_subscription(const Sent& sent) {
    std::vector<std::string_view> words = {sent.arguments.front()};
    const std::size_t all = sent.arguments.size() - 1;
    const std::size_t left = std::min(all, sent.confirmations);
    for (std::size_t i = all - left; i < all; ++i) words.push_back(sent.arguments[i + 1]);
    std::string command;
    wire::resp::append_command(command, words);
    return command;
  }

  // Answers at the front that no server gives.
  std::string take_answers() {
    std::string answers;
    if (!to_skip_.empty()) return answers;
    while (!sent_.empty() && !sent_.front().answer.empty() && sent_.front().complete) {
      answers += sent_.front().answer;
      sent_.pop();
    }
    return answers;
  }
  Awaitable<bool> give_answers() {
    std::string answers;
    // Whatever this application has in its cache was valid for another connection.
    if (std::exchange(tell_of_lost_tracking_, false)) answers = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
    answers += take_answers();
    co_return co_await give(answers);
  }

  // The protocol's own way to say why a session ends.
  Awaitable<void> refuse(const std::string& why) {
    ends("refused");
    const std::string line = error_line(why);
    if (!ended_) [[maybe_unused]]
      const bool given = co_await give(line);
    if (ended_) co_return;
    ended_ = true;
    application_->close();
    wake_all();
  }

  void end() {
    ended_ = true;
    application_->reset();
    wake_all();
  }
  void wake_all() {
    if (upstream_) upstream_->close();
    up_wake_.cancel();
    down_wake_.cancel();
  }

  std::unique_ptr<Stream> application_;
  // Null: none now. Whoever waits for it keeps it.
  std::shared_ptr<Stream> upstream_;
  asio::steady_timer up_wake_, down_wake_;
  bool ended_ = false;
  bool wants_upstream_ = false;
  bool demanded_ = false;  // the connection that is being opened is waited for
  bool reconnected_ = false;
  bool quits_ = false;

  CommandFramer commands_;
  bool discards_ = false;  // the rest of a command that was answered
  std::unique_ptr<ReplyFramer> replies_ = std::make_unique<ReplyFramer>();
  SentCommands sent_;
  Shadow shadow_;
  // Replies to what the proxy itself said to a new connection: whether an error ends the session.
  std::deque<bool> to_skip_;
  std::size_t confirmations_to_skip_ = 0;
  bool tell_of_lost_tracking_ = false;

  // A transaction, as the application sent it and as the server confirmed it.
  bool transaction_sent_ = false;
  bool in_transaction_ = false;
  bool watching_ = false;
  bool watch_lost_ = false;
  bool queue_lost_ = false;
  std::string queued_;
  std::size_t queued_count_ = 0;
  std::vector<std::pair<Command, std::vector<std::string>>> effects_;
};

}  // namespace

Awaitable<void> serve(SessionHost& host, std::unique_ptr<Stream> application, Client client) {
  RedisSession session(host, std::move(application), std::move(client));
  co_await session.run();
}

}  // namespace clonesafe::proxy::redis
