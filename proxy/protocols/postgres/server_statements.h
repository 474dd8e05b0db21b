#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SERVER_STATEMENTS_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SERVER_STATEMENTS_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "proxy/protocols/postgres/statement.h"

namespace clonesafe::proxy::postgres {

// Which prepared statements a connection has that sessions share one after the other, by the
// proxy's names for them. Not thread-safe.
class ServerStatements {
 public:
  // As PgBouncer's max_prepared_statements: with more, those go that were not used for longest.
  static constexpr std::size_t kLimit = 200;

  enum class Known : std::uint8_t {
    kNo,
    kMaybe,  // a Parse was sent whose answer isn't here, or something that may have removed it
    kYes     // or that is so if this group doesn't fail before
  };
  // Whether it is there for the message that is sent next, which uses it.
  Known use(const std::string& name);
  bool use_unnamed(const std::shared_ptr<const Statement>& statement) const;

  // A Parse was sent.
  void parse(const std::string& name);
  void parse_unnamed(std::shared_ptr<const Statement> statement);
  // Its answer is here.
  void parsed(const std::string& name);
  void parsed_unnamed(const std::shared_ptr<const Statement>& statement);

  // Something was sent after which there is no unnamed one, or maybe none at all.
  void drop_unnamed() { unnamed_.reset(); }
  void doubt_all();
  // What was sent of it has failed.
  void doubt(const std::string& name);
  // A Sync, or a Query: what is sent from now on is taken also if what was sent before fails.
  void end_group() { ++group_; }

  // Names of the application's for which there may be a statement, for SQL that uses them.
  std::set<std::string>& own_names() { return own_names_; }

  // One too many, which is to be closed.
  std::optional<std::string> evict();
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string name;
    std::uint64_t group = 0;  // in which its Parse was sent
    bool confirmed = false;
  };
  using Entries = std::list<Entry>;  // the one that was used last is in front

  std::uint64_t group_ = 1;
  Entries entries_;
  std::unordered_map<std::string, Entries::iterator> by_name_;
  std::shared_ptr<const Statement> unnamed_;
  std::uint64_t unnamed_group_ = 0;
  bool unnamed_confirmed_ = false;
  std::set<std::string> own_names_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SERVER_STATEMENTS_H_
