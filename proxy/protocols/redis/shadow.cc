#include "proxy/protocols/redis/shadow.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cctype>
#include <span>

#include "proxy/wire/resp/builder.h"

namespace clonesafe::proxy::redis {
namespace {

using wire::resp::append_command;

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

void wipe(std::string& secret) {
  OPENSSL_cleanse(secret.data(), secret.size());
  secret.clear();
}

// One command with all that is in a set behind its name.
void append_all(std::string& out, std::string_view name, const std::set<std::string>& channels) {
  if (channels.empty()) return;
  std::vector<std::string_view> words = {name};
  words.insert(words.end(), channels.begin(), channels.end());
  append_command(out, words);
}

}  // namespace

Shadow::~Shadow() {
  wipe(password_);
}

void Shadow::authenticated(std::string user, std::string password) {
  wipe(password_);
  authenticated_ = true;
  user_ = std::move(user);
  password_ = std::move(password);
}

void Shadow::hello(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2) return;  // it only asks
  has_hello_ = true;
  protocol_ = arguments[1] == "3" ? Protocol::kResp3 : Protocol::kResp2;
  for (std::size_t i = 2; i < arguments.size(); ++i) {
    const std::string word = upper(arguments[i]);
    if (word == "AUTH" && i + 2 < arguments.size()) {
      authenticated(arguments[i + 1], arguments[i + 2]);
      i += 2;
    } else if (word == "SETNAME" && i + 1 < arguments.size()) {
      name_ = arguments[++i];
    }
  }
}

void Shadow::client(const std::vector<std::string>& arguments) {
  if (arguments.size() < 3) return;
  const std::string word = upper(arguments[2]);
  switch (wire::resp::find_client_command(arguments[1])) {
    case ClientCommand::kSetName:
      name_ = arguments[2];
      return;
    case ClientCommand::kSetInfo:
      if (arguments.size() > 3) info_[word] = arguments[3];
      return;
    case ClientCommand::kTracking:
      tracking_ = word == "ON" ? arguments : std::vector<std::string>();
      return;
    case ClientCommand::kNoEvict:
      no_evict_ = word == "ON";
      return;
    case ClientCommand::kNoTouch:
      no_touch_ = word == "ON";
      return;
    default:
      return;
  }
}

void Shadow::clear() {
  wipe(password_);
  protocol_ = Protocol::kResp2;
  has_hello_ = authenticated_ = no_evict_ = no_touch_ = read_only_ = false;
  user_.clear();
  database_.clear();
  name_.clear();
  tracking_.clear();
  channels_.clear();
  patterns_.clear();
  shards_.clear();
}

void Shadow::done(Command command, const std::vector<std::string>& arguments) {
  switch (command) {
    case Command::kHello:
      return hello(arguments);
    case Command::kAuth:
      if (arguments.size() == 2) authenticated({}, arguments[1]);
      if (arguments.size() == 3) authenticated(arguments[1], arguments[2]);
      return;
    case Command::kSelect:
      if (arguments.size() == 2) database_ = arguments[1];
      return;
    case Command::kClient:
      return client(arguments);
    case Command::kReadOnly:
      read_only_ = true;
      return;
    case Command::kReadWrite:
      read_only_ = false;
      return;
    case Command::kReset:
      return clear();
    default:
      return;
  }
}

std::set<std::string>& Shadow::channels(PushKind kind) {
  switch (kind) {
    case PushKind::kPatternSubscribe:
    case PushKind::kPatternUnsubscribe:
      return patterns_;
    case PushKind::kShardSubscribe:
    case PushKind::kShardUnsubscribe:
      return shards_;
    default:
      return channels_;
  }
}

void Shadow::confirmed(PushKind kind, const std::string& channel) {
  const bool gained = kind == PushKind::kSubscribe || kind == PushKind::kPatternSubscribe ||
                      kind == PushKind::kShardSubscribe;
  if (gained) {
    channels(kind).insert(channel);
  } else {
    channels(kind).erase(channel);
  }
}

bool Shadow::subscribed() const {
  return !channels_.empty() || !patterns_.empty() || !shards_.empty();
}

std::size_t Shadow::subscriptions(PushKind kind) const {
  return const_cast<Shadow*>(this)->channels(kind).size();
}

Shadow::Replay Shadow::replay() const {
  Replay replay;
  const auto add = [&replay](std::span<const std::string_view> words, bool needed) {
    append_command(replay.commands, words);
    replay.needed.push_back(needed);
  };
  const auto say = [&add](std::initializer_list<std::string_view> words, bool needed = true) {
    add(std::span(words.begin(), words.size()), needed);
  };
  if (has_hello_) {
    std::vector<std::string_view> words = {"HELLO", protocol_ == Protocol::kResp3 ? "3" : "2"};
    if (authenticated_) {
      const std::string_view user = user_.empty() ? std::string_view("default") : user_;
      for (const std::string_view word :
           {std::string_view("AUTH"), user, std::string_view(password_)})
        words.push_back(word);
    }
    add(words, true);
  } else if (authenticated_ && user_.empty()) {
    say({"AUTH", password_});
  } else if (authenticated_) {
    say({"AUTH", user_, password_});
  }
  if (!name_.empty()) say({"CLIENT", "SETNAME", name_});
  for (const auto& [key, value] : info_) say({"CLIENT", "SETINFO", key, value}, false);
  if (!database_.empty()) say({"SELECT", database_});
  if (no_evict_) say({"CLIENT", "NO-EVICT", "ON"});
  if (no_touch_) say({"CLIENT", "NO-TOUCH", "ON"});
  if (read_only_) say({"READONLY"});
  if (!tracking_.empty()) {
    const std::vector<std::string_view> words(tracking_.begin(), tracking_.end());
    add(words, true);
  }
  append_all(replay.commands, "SUBSCRIBE", channels_);
  append_all(replay.commands, "PSUBSCRIBE", patterns_);
  append_all(replay.commands, "SSUBSCRIBE", shards_);
  replay.confirmations = channels_.size() + patterns_.size() + shards_.size();
  return replay;
}

}  // namespace clonesafe::proxy::redis
