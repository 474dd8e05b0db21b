#include "proxy/protocols/postgres/shadow.h"

#include <algorithm>

#include "proxy/wire/postgres/server_messages.h"
#include "proxy/wire/postgres/sql_name.h"

namespace clonesafe::proxy::postgres {

using wire::postgres::TransactionStatus;

void Shadow::begin(Settings asked_for) {
  asked_for_ = std::move(asked_for);
  now_.settings = committed_.settings = asked_for_;
}

// The tag of what each kind of statement that matters is; others have any.
bool Shadow::confirms(const Effect& effect, std::string_view command) const {
  switch (effect.kind) {
    case SqlKind::kSet:
    case SqlKind::kSetCharacteristics:
    case SqlKind::kSetRole:
    case SqlKind::kSetSessionAuthorization:
      return command == "SET";
    case SqlKind::kReset:
      return command == "RESET" || command == "SET";  // SET name TO DEFAULT
    case SqlKind::kResetAll:
      return command == "RESET";
    case SqlKind::kPrepare:
      return command == "PREPARE";
    case SqlKind::kListen:
      return command == "LISTEN";
    case SqlKind::kUnlisten:
    case SqlKind::kUnlistenAll:
      return command == "UNLISTEN";
    case SqlKind::kDeallocate:
    case SqlKind::kDeallocateAll:
      return command.starts_with("DEALLOCATE");
    default:
      return true;
  }
}

void Shadow::done(const Effect& effect, std::string_view tag) {
  const std::string_view command = wire::postgres::command_of(tag);
  if (!confirms(effect, command))
    return pin("a statement that the server took for another than the proxy");
  if (effect.locks) locks_ = true;
  if (effect.sets) now_.set_config = changed_ = true;
  if (effect.sequences) now_.sequences = changed_ = true;
  switch (effect.kind) {
    case SqlKind::kUnknown:
      return pin("a statement of which it can't be seen what it does to the session");
    case SqlKind::kCommit:
      // The end of a transaction that has failed is a rollback.
      return command == "COMMIT" ? commit() : roll_back();
    case SqlKind::kPrepareTransaction:
      return command == "ROLLBACK" ? roll_back() : commit();
    case SqlKind::kRollback:
      return roll_back();
    case SqlKind::kSavepoint:
      savepoints_.emplace_back(effect.name, now_);
      return;
    case SqlKind::kRelease:
      return release(effect.name);
    case SqlKind::kRollbackTo:
      return roll_back_to(effect.name);
    case SqlKind::kSetSessionAuthorization:
      if (!effect.local) unset("role");
      [[fallthrough]];
    case SqlKind::kSet:
    case SqlKind::kSetRole:
      if (!effect.local) return set(effect.name, effect.text);
      now_.local = changed_ = true;
      return;
    case SqlKind::kSetCharacteristics:
      return set(effect.text, effect.text);
    case SqlKind::kReset:
      if (effect.name == "session_authorization") unset("role");
      return reset(effect.name);
    case SqlKind::kResetAll:
      return reset_all();
    case SqlKind::kPrepare: {
      auto statement = std::make_shared<Statement>();
      statement->query = effect.text;
      statement->by_sql = true;
      statements_[effect.name] = std::move(statement);
      state_.reset();
      return;
    }
    case SqlKind::kDeallocate:
      return closed(effect.name);
    case SqlKind::kDeallocateAll:
      state_.reset();
      return std::erase_if(statements_, [](const auto& entry) { return !entry.first.empty(); }),
             void();
    case SqlKind::kListen:
      changed_ = true;
      now_.channels.insert(effect.name);
      return;
    case SqlKind::kUnlisten:
      changed_ = true;
      now_.channels.erase(effect.name);
      return;
    case SqlKind::kUnlistenAll:
      changed_ = true;
      return now_.channels.clear();
    case SqlKind::kDiscard:
      return discard(effect.name);
    case SqlKind::kDeclareHeldCursor:
      changed_ = true;
      now_.held_cursors.insert(effect.name);
      return;
    case SqlKind::kCloseCursor:
      changed_ = true;
      if (effect.name.empty()) return now_.held_cursors.clear();
      now_.held_cursors.erase(effect.name);
      return;
    case SqlKind::kCreateTemporary:
      now_.temporary = changed_ = true;
      return;
    case SqlKind::kLoad:
      return pin("LOAD");
    default:
      return;
  }
}

// What was set last is said last.
void Shadow::set(const std::string& name, const std::string& text) {
  unset(name);
  now_.settings.emplace_back(name, text);
}
void Shadow::unset(const std::string& name) {
  changed_ = true;
  std::erase_if(now_.settings, [&](const auto& setting) { return setting.first == name; });
}
// "SET datestyle TO ymd" leaves how dates are shown as it was: what is said again has both. What
// was asked for at the start may be other than the server has it now.
bool Shadow::complete_date_style(Settings& settings) const {
  const auto found = std::ranges::find(settings, "datestyle", &Settings::value_type::first);
  if (found == settings.end() || date_style_.empty()) return false;
  if (std::ranges::find(asked_for_, *found) != asked_for_.end()) return false;
  std::string text = "SET datestyle TO " + wire::postgres::quote_sql_string(date_style_);
  if (found->second == text) return false;
  found->second = std::move(text);
  return true;
}
// To what the StartupMessage says; the server doesn't know it of a connection that was opened
// without.
void Shadow::reset(const std::string& name) {
  unset(name);
  const auto asked = std::ranges::find(asked_for_, name, &Settings::value_type::first);
  if (asked == asked_for_.end()) return;
  now_.settings.insert(now_.settings.begin(), *asked);
  strayed_ = true;
}
void Shadow::reset_all() {
  changed_ = true;
  now_.set_config = false;
  std::erase_if(now_.settings, [](const auto& setting) {
    return setting.first != "role" && setting.first != "session_authorization";
  });
  now_.settings.insert(now_.settings.begin(), asked_for_.begin(), asked_for_.end());
  strayed_ = strayed_ || !asked_for_.empty();
}

void Shadow::discard(std::string_view what) {
  if (what == "temp" || what == "all") now_.temporary = false;
  if (what == "sequences") now_.sequences = false;
  changed_ = true;
  if (what != "all") return;
  // Not inside a transaction: there is nothing that could be taken back.
  now_ = {};
  now_.settings = asked_for_;
  strayed_ = strayed_ || !asked_for_.empty();
  locks_ = false;
  pinned_.clear();
  statements_.clear();
  state_.reset();
}

void Shadow::prepared(const std::string& name, std::shared_ptr<const Statement> statement) {
  if (!statement->kept) pin("a prepared statement that is too long to be kept");
  statements_[name] = std::move(statement);
  state_.reset();
}

std::shared_ptr<const Statement> Shadow::statement(const std::string& name) const {
  const auto found = statements_.find(name);
  return found == statements_.end() ? nullptr : found->second;
}

void Shadow::commit() {
  if (changed_) {
    now_.local = false;
    committed_ = now_;
    state_.reset();
  }
  changed_ = false;
  savepoints_.clear();
}
void Shadow::roll_back() {
  if (changed_) now_ = committed_;
  changed_ = false;
  savepoints_.clear();
}
void Shadow::roll_back_to(const std::string& savepoint) {
  while (!savepoints_.empty() && savepoints_.back().first != savepoint) savepoints_.pop_back();
  if (savepoints_.empty()) return;
  now_ = savepoints_.back().second;  // which stays
  changed_ = true;
}
void Shadow::release(const std::string& savepoint) {
  while (!savepoints_.empty()) {
    const bool last = savepoints_.back().first == savepoint;
    savepoints_.pop_back();
    if (last) return;
  }
}

void Shadow::ready(TransactionStatus status) {
  // Outside a transaction that was begun, all between two of these is one.
  if (status == TransactionStatus::kIdle) failed_ ? roll_back() : commit();
  failed_ = false;
  complete_date_style(now_.settings);
  if (status == TransactionStatus::kIdle && complete_date_style(committed_.settings))
    state_.reset();
}

void Shadow::transaction_lost() {
  roll_back();
  failed_ = false;
}

std::string Shadow::pinned() const {
  if (!pinned_.empty()) return pinned_;
  if (locks_) return "an advisory lock";
  if (committed_.set_config) return "set_config()";
  if (committed_.temporary) return "a temporary table";
  if (!committed_.held_cursors.empty()) return "a cursor WITH HOLD";
  return {};
}

std::string Shadow::kept_by() const {
  if (std::string why = pinned(); !why.empty()) return why;
  if (!committed_.channels.empty()) return "LISTEN";
  if (committed_.sequences) return "currval() or lastval()";
  return {};
}

std::shared_ptr<const SessionState> Shadow::state() const {
  if (state_ && state_->strayed == strayed_) return state_;
  auto state = std::make_shared<SessionState>();
  state->settings = committed_.settings;
  for (const auto& [name, statement] : statements_) {
    if (statement->by_sql) state->prepared[name] = statement->query;
  }
  state->strayed = strayed_;
  state_ = std::move(state);
  return state_;
}

Result<Replay> Shadow::replay_from(const SessionState& from,
                                   const std::set<std::string>& also_prepared) const {
  return difference(from, *state(), committed_.channels, also_prepared);
}

Result<Replay> Shadow::replay() const {
  auto said = replay_from({}, {});
  if (!said) return said;
  Replay replay = std::move(*said);
  bool parsed = false;
  for (const auto& [name, statement] : statements_) {
    if (statement->by_sql) continue;
    const wire::postgres::Parse parse{.statement = name,
                                      .query = statement->query,
                                      .types = statement->types,
                                      .type_count = statement->type_count};
    if (auto added = wire::postgres::append_parse(replay.messages, parse); !added)
      return fail(added.error());
    parsed = true;
  }
  if (parsed) {
    wire::postgres::append_sync(replay.messages);
    ++replay.ready_count;
  }
  return replay;
}

}  // namespace clonesafe::proxy::postgres
