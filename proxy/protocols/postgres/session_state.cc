#include "proxy/protocols/postgres/session_state.h"

#include <algorithm>
#include <array>

#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/sql_name.h"

namespace clonesafe::proxy::postgres {
namespace {

using wire::postgres::quote_sql_name;
using wire::postgres::quote_sql_string;

// What drivers send, and every server lets every user change at any time.
constexpr std::array<std::string_view, 7> kChangeable = {
    "application_name", "client_encoding",
    "datestyle",        "extra_float_digits",
    "intervalstyle",    "standard_conforming_strings",
    "timezone"};

// A server reads a whole text before it runs any of it.
bool changes_how_text_is_read(std::string_view setting) {
  return setting == "client_encoding" || setting == "standard_conforming_strings";
}

// One that RESET takes by this name, and that no other setting depends on.
bool stands_alone(const std::pair<std::string, std::string>& setting) {
  return setting.first != "role" && setting.first != "session_authorization" &&
         std::ranges::all_of(setting.first, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
         });
}

const std::string* find(const Settings& settings, std::string_view name) {
  const auto found = std::ranges::find(settings, name, &Settings::value_type::first);
  return found == settings.end() ? nullptr : &found->second;
}

class Script {
 public:
  // Behind what is said first.
  explicit Script(Replay first) : replay_(std::move(first)) {}

  void say(std::string_view statement) {
    text_ += statement;
    text_ += ';';
  }
  void set(const std::pair<std::string, std::string>& setting) {
    say(setting.second);
    if (changes_how_text_is_read(setting.first)) cut();
  }
  // What follows is read with what was said so far.
  void cut() {
    if (text_.empty() || !added_) return;
    added_ = wire::postgres::append_query(replay_.messages, text_);
    ++replay_.ready_count;
    text_.clear();
  }
  Result<Replay> take() {
    cut();
    if (!added_) return fail(added_.error());
    return std::move(replay_);
  }

 private:
  std::string text_;
  Replay replay_;
  Status added_;
};

void say_settings(Script& script, const SessionState& from, const Settings& to) {
  if (from.strayed || !std::ranges::all_of(from.settings, stands_alone) ||
      !std::ranges::all_of(to, stands_alone)) {
    if (!from.strayed && from.settings == to) return;
    if (from.strayed || !from.settings.empty()) {
      script.say("RESET SESSION AUTHORIZATION;RESET ROLE;RESET ALL");
      script.cut();
    }
    for (const auto& setting : to) script.set(setting);
    return;
  }
  bool read_differently = false;
  for (const auto& [name, text] : from.settings) {
    if (find(to, name) != nullptr) continue;
    script.say("RESET " + name);
    read_differently = read_differently || changes_how_text_is_read(name);
  }
  if (read_differently) script.cut();
  for (const auto& setting : to) {
    const std::string* const now = find(from.settings, setting.first);
    if (now != nullptr && *now == setting.second) continue;
    // It may be changed in part.
    if (now != nullptr && setting.first == "datestyle") script.say("RESET datestyle");
    script.set(setting);
  }
}

}  // namespace

Result<Replay> difference(const SessionState& from, const SessionState& to,
                          const std::set<std::string>& channels,
                          const std::set<std::string>& also_prepared) {
  Replay closed;
  for (const std::string& name : also_prepared) {
    if (auto added = wire::postgres::append_close(
            closed.messages, {.kind = wire::postgres::Target::Kind::kStatement, .name = name});
        !added)
      return fail(added.error());
  }
  if (!also_prepared.empty()) {
    wire::postgres::append_sync(closed.messages);
    ++closed.ready_count;
  }
  Script script(std::move(closed));
  const auto has = [](const SessionState& state, const auto& statement) {
    const auto found = state.prepared.find(statement.first);
    return found != state.prepared.end() && found->second == statement.second;
  };
  for (const auto& statement : from.prepared) {
    if (!has(to, statement)) script.say("DEALLOCATE " + quote_sql_name(statement.first));
  }
  say_settings(script, from, to.settings);
  // By then names are looked up as the settings say.
  for (const auto& statement : to.prepared) {
    if (!has(from, statement)) script.say(statement.second);
  }
  for (const std::string& channel : channels) script.say("LISTEN " + quote_sql_name(channel));
  return script.take();
}

StartupTerms StartupTerms::of(const Parameters& parameters) {
  StartupTerms terms;
  for (const auto& [name, value] : parameters) {
    std::string setting = wire::postgres::ascii_lower(name);
    if (std::ranges::find(kChangeable, setting) == kChangeable.end()) {
      terms.fixed.emplace_back(name, value);
      continue;
    }
    // The last one counts.
    std::erase_if(terms.settings, [&](const auto& earlier) { return earlier.first == setting; });
    std::string text = "SET " + setting + " TO " + quote_sql_string(value);
    terms.settings.emplace_back(std::move(setting), std::move(text));
  }
  return terms;
}

std::string key_of(const Parameters& parameters) {
  // Neither name nor value has a zero byte: they come from a message that ends them so.
  std::string key;
  for (const auto& [name, value] : parameters) {
    key += name;
    key += '\0';
    key += value;
    key += '\0';
  }
  return key;
}

}  // namespace clonesafe::proxy::postgres
