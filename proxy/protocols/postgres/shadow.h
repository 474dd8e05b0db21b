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

#include "proxy/protocols/postgres/statement.h"
#include "proxy/wire/postgres/protocol.h"

namespace clonesafe::proxy::postgres {

// What a server knows of a session beyond its StartupMessage, as it confirmed it. What a
// transaction did counts only once it is committed. Not thread-safe.
class Shadow {
 public:
  // A statement was done; `tag` is that of its CommandComplete.
  void done(const Effect& effect, std::string_view tag);
  void prepared(const std::string& name, std::shared_ptr<const Statement> statement);
  void closed(const std::string& name) { statements_.erase(name); }
  // A statement failed.
  void failed() { failed_ = true; }
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

  // What makes a new connection the same, and how many ReadyForQuery it answers.
  struct Replay {
    std::string messages;
    std::size_t ready_count = 0;
  };
  Result<Replay> replay() const;

 private:
  // What a ROLLBACK takes back.
  struct State {
    std::vector<std::pair<std::string, std::string>> settings;  // and what set them, in order
    std::set<std::string> channels;
    std::set<std::string> held_cursors;
    bool temporary = false;
    bool set_config = false;
  };
  void set(const std::string& name, const std::string& text);
  void unset(const std::string& name);
  void reset_all();
  void discard(std::string_view what);
  void commit();
  void roll_back();
  void roll_back_to(const std::string& savepoint);
  void release(const std::string& savepoint);
  bool confirms(const Effect& effect, std::string_view command) const;

  State now_, committed_;
  bool changed_ = false;  // now_ since committed_
  bool failed_ = false;   // since the last ReadyForQuery
  std::vector<std::pair<std::string, State>> savepoints_;
  std::map<std::string, std::shared_ptr<const Statement>> statements_;
  bool locks_ = false;
  std::string pinned_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHADOW_H_
