#include "proxy/protocols/redis/dialogue.h"

#include <algorithm>

#include "proxy/protocols/redis/command_kinds.h"
#include "proxy/wire/resp/builder.h"
#include "proxy/wire/resp/command_arguments.h"
#include "proxy/wire/resp/value_reader.h"

namespace clonesafe::proxy::redis {

using wire::resp::CommandInfo;
using wire::resp::CommandPart;
using wire::resp::ReplyPart;

namespace {

std::string name_of(const CommandInfo& command) {
  return command.name.empty() ? "the command" : std::string(command.name);
}

std::string printable(std::string_view text) {
  std::string line;
  for (const char c : text.substr(0, 200)) line += c < ' ' || c > '~' ? '?' : c;
  return line;
}

// Without those that are confirmed already.
std::string rest_of_channels(const Sent& sent) {
  std::vector<std::string_view> words = {sent.arguments.front()};
  const std::size_t all = sent.arguments.size() - 1;
  const std::size_t left = std::min(all, sent.confirmations);
  for (std::size_t i = all - left; i < all; ++i) words.push_back(sent.arguments[i + 1]);
  std::string command;
  wire::resp::append_command(command, words);
  return command;
}

}  // namespace

std::string error_line(const std::string& text) {
  std::string line;
  wire::resp::append_error(line, "ERR clonesafe-proxy: " + text);
  return line;
}

std::size_t Dialogue::take_commands(Splice& splice) {
  std::size_t consumed = 0;
  while (!tunnels_) {
    const std::string_view rest = splice.input().substr(consumed);
    if (rest.empty()) return consumed;
    const auto part = commands_.next(rest);
    if (!part) {
      mistake_ = part.error().message();
      // It will never be whole.
      if (!sent_.empty() && !sent_.last().complete) sent_.drop_last();
      return consumed;
    }
    if (part->size == 0) return consumed;
    const auto instead = take_part(*part, rest.substr(0, part->size));
    if (instead) splice.replace(consumed, part->size, *instead);
    consumed += part->size;
  }
  return splice.input().size();
}

std::optional<std::string> Dialogue::take_part(const CommandPart& part, std::string_view bytes) {
  const CommandInfo& command = *part.command;
  if (command.command == Command::kEmpty) return std::nullopt;
  if (discards_) {
    discards_ = !part.last;
    return "";
  }
  if (part.first) {
    sent_.begin(part.command);
    sent_.last().in_transaction = transaction_.queues(command.command);
  }
  std::optional<std::string> instead;
  if (part.whole() && command.has(wire::resp::kWhole)) instead = take_whole(command, bytes);
  sent_.add(instead ? std::string_view(*instead) : bytes);
  sent_.last().complete = part.last;
  return instead;
}

std::optional<std::string> Dialogue::take_whole(const CommandInfo& command,
                                                std::string_view bytes) {
  Sent& sent = sent_.last();
  wire::resp::CommandArguments words(bytes);
  while (const auto word = words.next()) sent.arguments.emplace_back(*word);
  tunnels_ = sent.tunnel = opens_tunnel(command.command, sent.arguments, sent.in_transaction);
  if (confirmation_of(command.command) != PushKind::kNone) {
    const std::size_t channels = sent.arguments.size() - 1;
    sent.confirmations = std::max<std::size_t>(channels, 1);
    sent.of_all = channels == 0;
  }
  transaction_.send(command.command);
  if (command.command != Command::kExec || !transaction_.aborted()) return std::nullopt;
  wire::resp::append_null(sent.substitute, shadow_.protocol());
  if (shadow_.protocol() == Protocol::kResp2) sent.substitute = "*-1\r\n";
  std::string discard;
  wire::resp::append_command(discard, {"DISCARD"});
  return discard;
}

Result<std::size_t> Dialogue::take_replies(Splice& splice) {
  std::size_t consumed = 0;
  while (!tunnelled()) {
    const std::string_view rest = splice.input().substr(consumed);
    if (rest.empty()) return consumed;
    replies_->set_subscribed(may_be_message());
    const auto part = replies_->next(
        rest, to_skip_.empty() ? wire::resp::Handling::kPassOn : wire::resp::Handling::kWhole);
    if (!part) return fail(part.error());
    if (part->size == 0) return consumed;
    auto instead = take_reply(*part, rest.substr(0, part->size));
    if (!instead) return fail(instead.error());
    if (*instead) splice.replace(consumed, part->size, **instead);
    consumed += part->size;
    if (const std::string answers = take_answers(); !answers.empty())
      splice.replace(consumed, 0, answers);
  }
  return splice.input().size();
}

bool Dialogue::tunnelled() const {
  return tunnels_ && to_skip_.empty() && confirmations_to_skip_ == 0 && sent_.front().tunnel;
}
bool Dialogue::may_be_message() const {
  if (shadow_.protocol() != Protocol::kResp2) return false;
  return shadow_.subscribed() || confirmations_to_skip_ != 0 ||
         (to_skip_.empty() && !sent_.empty() && sent_.front().confirmations != 0);
}

Result<std::optional<std::string>> Dialogue::take_reply(const ReplyPart& part,
                                                        std::string_view bytes) {
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
  if (sent_.empty()) return fail("a reply that nobody asked for");
  Sent& sent = sent_.front();
  std::optional<std::string> instead;
  if (!sent.substitute.empty()) instead = part.last ? sent.substitute : "";
  sent.began = true;
  if (part.last) finish(part);
  return instead;
}

Result<std::optional<std::string>> Dialogue::take_push(const ReplyPart& part,
                                                       std::string_view bytes) {
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
  Dialogue::count_confirmation(part.push);
  return std::nullopt;
}

void Dialogue::count_confirmation(PushKind push) {
  if (sent_.empty() || confirmation_of(sent_.front().command->command) != push) return;
  Sent& sent = sent_.front();
  const bool last = sent.of_all ? shadow_.subscriptions(push) == 0 : --sent.confirmations == 0;
  if (last) sent_.pop();
}

void Dialogue::finish(const ReplyPart& part) {
  Sent& sent = sent_.front();
  const bool ok = !wire::resp::is_error(part.type);
  const Command command = sent.command->command;
  if (sent.in_transaction) {
    if (ok) transaction_.queue(command, sent_.bytes_of(sent), sent.arguments);
  } else if (command == Command::kMulti && ok) {
    transaction_.begin();
  } else if (command == Command::kExec || (command == Command::kDiscard && ok)) {
    if (command == Command::kExec && part.type == wire::resp::Type::kArray) {
      for (const auto& [done, arguments] : transaction_.effects()) shadow_.done(done, arguments);
    }
    transaction_.end();
  } else if (ok && command == Command::kWatch) {
    transaction_.watch();
  } else if (ok && command == Command::kUnwatch) {
    transaction_.unwatch();
  } else if (ok) {
    shadow_.done(command, sent.arguments);
    if (command == Command::kReset) transaction_.end();
    if (command == Command::kQuit) quits_ = true;
  }
  sent_.pop();
}

// --- From one connection to the next. ---

bool Dialogue::lose() {
  if (tunnels_) return false;
  to_skip_.clear();
  confirmations_to_skip_ = 0;
  transaction_.lose();
  for (Sent& sent : sent_.list()) {
    if (!sent.answer.empty()) continue;
    // Half a reply can't be taken back.
    if (sent.began) return false;
    sort_out(sent);
  }
  return true;
}

void Dialogue::sort_out(Sent& sent) {
  const CommandInfo& command = *sent.command;
  const bool kept = sent.size != 0 && !sent_.bytes_of(sent).empty();
  // What never was there whole was not done; what is queued isn't done yet.
  if (kept && (!sent.complete || sent.in_transaction || is_repeatable(command))) return;
  if (command.command == Command::kDiscard || !sent.substitute.empty()) {
    sent.answer = sent.substitute.empty() ? "+OK\r\n" : sent.substitute;
    transaction_.end();
    return;
  }
  if (!sent.complete) {
    discards_ = true;
    sent.complete = true;
    sent.answer = error_line("the connection was lost while " + name_of(command) +
                             " was sent; it was not done");
    return;
  }
  if (command.command == Command::kExec) transaction_.end();
  sent.answer = error_line("the connection was lost, as in a clone; whether " + name_of(command) +
                           " was done is not known");
}

std::string Dialogue::begin_anew() {
  const Shadow::Replay replay = shadow_.replay();
  std::string bytes = replay.commands;
  to_skip_.assign(replay.needed.begin(), replay.needed.end());
  confirmations_to_skip_ = replay.confirmations;
  if (transaction_.open()) {
    wire::resp::append_command(bytes, {"MULTI"});
    to_skip_.push_back(true);
    bytes += transaction_.queued();
    to_skip_.insert(to_skip_.end(), transaction_.queued_count(), false);
  }
  for (const Sent& sent : sent_.list()) {
    if (!sent.answer.empty()) continue;
    if (sent.confirmations != 0 && !sent.of_all) {
      bytes += rest_of_channels(sent);
    } else {
      bytes += sent_.bytes_of(sent);
    }
  }
  replies_ = std::make_unique<wire::resp::ReplyFramer>();
  // Whatever this application has in its cache was valid for another connection.
  if (shadow_.tracking()) tell_of_lost_tracking_ = true;
  return bytes;
}

std::string Dialogue::take_answers() {
  std::string answers;
  if (std::exchange(tell_of_lost_tracking_, false)) answers = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
  if (!to_skip_.empty()) return answers;
  while (!sent_.empty() && !sent_.front().answer.empty() && sent_.front().complete) {
    answers += sent_.front().answer;
    sent_.pop();
  }
  return answers;
}

}  // namespace clonesafe::proxy::redis
