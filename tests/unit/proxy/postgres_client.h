#ifndef CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_CLIENT_H_
#define CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_CLIENT_H_

#include <string>
#include <vector>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::proxy {

struct PostgresMessage {
  char type = 0;
  std::string body;
};

// One end of a connection that speaks PostgreSQL's protocol, as an application does or a server;
// everything is waited for.
class PostgresPeer {
 public:
  explicit PostgresPeer(UniqueFd fd) : fd_(std::move(fd)) {}

  const UniqueFd& fd() const { return fd_; }
  void send(const std::string& bytes) const;
  // Type 0: there is none any more.
  PostgresMessage receive() const;

  // As an application: logs in where no password is asked for, or with one. Gives what came instead
  // of a session, in the words of texts(), or nothing.
  std::string log_in(const std::string& user, const std::string& password = {},
                     const std::string& database = "postgres");
  // A Query, and what it gave up to ReadyForQuery: rows as "1|a", tags, errors as "!40001", and the
  // status at the end, each followed by a space: "1|a SELECT 1 I ".
  std::string query(const std::string& sql) const;
  // What comes up to ReadyForQuery, or the end, so.
  std::string answer() const;
  std::string key() const { return key_; }  // as CancelRequest has it: process and key

  // As a server: takes a StartupMessage, and lets the application in.
  void welcome(std::uint32_t process) const;
  // The same, with an error in place of a session.
  void refuse(const std::string& error) const;
  void take_startup() const;

 private:
  UniqueFd fd_;
  std::string key_;
};

// Messages, as an application sends them.
std::string query_message(const std::string& sql);
std::string parse_message(const std::string& name, const std::string& sql);
std::string bind_message(const std::string& name);
std::string execute_message();
std::string sync_message();

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_CLIENT_H_
