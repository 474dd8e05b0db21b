#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHADOW_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHADOW_H_

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/protocols/postgres/session_state.h"
#include "proxy/protocols/postgres/statement.h"
#include "proxy/wire/postgres/protocol.h"

namespace clonesafe::proxy::postgres {

// What a server knows of a session beyond its StartupMessage, as it confirmed it. What a
// transaction did counts only once it is committed. Not thread-safe.
class Shadow {
 public:
  // Its StartupMessage asks for these, and its connections are opened without them. Once, first.
  void begin(Settings asked_for);

  // A statement was done; `tag` is that of its CommandComplete.
  void done(const Effect& effect, std::string_view tag);
  void prepared(const std::string& name, std::shared_ptr<const Statement> statement);
  void closed(const std::string& name) {
    statements_.erase(name);
    state_.reset();
  }
  // A statement failed.
  void failed() { failed_ = true; }
  // What the server reports of DateStyle, which a SET may change in part.
  void reports_date_style(std::string_view value) { date_style_ = value; }
  // ReadyForQuery.
  void ready(wire::postgres::TransactionStatus status);
  // The transaction went with its server.
  void transaction_lost();
  // Something that can't be said again to another server, from now on.
  void pin(std::string_view what) {
    if (pinned_.empty()) pinned_ = what;
  }

  bool listening() const { return !now_.channels.empty(); }
  std::shared_ptr<const Statement> statement(const std::string& name) const;
  // Why no other connection can go on with this session; empty if one can.
  std::string pinned() const;

  // Why a session that shares its connections keeps the one that it has; empty if it doesn't.
  std::string kept_by() const;
  // As they are now, in a transaction too.
  const Settings& settings() const { return now_.settings; }
  // Others are in force until the transaction ends.
  bool has_local_settings() const { return now_.local; }
  // What was committed of it.
  std::shared_ptr<const SessionState> state() const;
  // The connection that it had is another's.
  void moves_on() { strayed_ = false; }

  // What makes a new connection the same.
  Result<Replay> replay() const;
  // What makes one that has this state, and these statements, the same, but for what the protocol
  // prepared.
  Result<Replay> replay_from(const SessionState& from,
                             const std::set<std::string>& also_prepared) const;

 private:
  // What a ROLLBACK takes back.
  struct State {
    Settings settings;
    std::set<std::string> channels;
    std::set<std::string> held_cursors;
    bool temporary = false;
    bool set_config = false;
    bool sequences = false;
    bool local = false;  // SET LOCAL, for this transaction
  };
  void set(const std::string& name, const std::string& text);
  void unset(const std::string& name);
  bool complete_date_style(Settings& settings) const;
  void reset(const std::string& name);
  void reset_all();
  void discard(std::string_view what);
  void commit();
  void roll_back();
  void roll_back_to(const std::string& savepoint);
  void release(const std::string& savepoint);
  bool confirms(const Effect& effect, std::string_view command) const;

  Settings asked_for_;
  bool strayed_ = false;  // the server has its own default of something that was asked for
  std::string date_style_;
  State now_, committed_;
  mutable std::shared_ptr<const SessionState> state_;  // null: to be made
  bool changed_ = false;                               // now_ since committed_
  bool failed_ = false;                                // since the last ReadyForQuery
  std::vector<std::pair<std::string, State>> savepoints_;
  std::map<std::string, std::shared_ptr<const Statement>> statements_;
  bool locks_ = false;
  std::string pinned_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHADOW_H_
