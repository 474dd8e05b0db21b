#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SESSION_STATE_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SESSION_STATE_H_

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::proxy::postgres {

// What is said to a connection, and how many ReadyForQuery it answers.
struct Replay {
  std::string messages;
  std::size_t ready_count = 0;
};

// Settings by their names in small letters, each with the statement that set it, in order.
using Settings = std::vector<std::pair<std::string, std::string>>;

// What SQL made of a session that can be said to another connection.
struct SessionState {
  Settings settings;
  std::map<std::string, std::string> prepared;  // by PREPARE: name and statement
  // A setting may be the server's own default, where `settings` has another.
  bool strayed = false;

  bool operator==(const SessionState&) const = default;
};

// What makes a connection that has the state `from` one that has `to`, and listens to `channels`.
// Statements of these names may be there beside those that `from` has.
Result<Replay> difference(const SessionState& from, const SessionState& to,
                          const std::set<std::string>& channels,
                          const std::set<std::string>& also_prepared = {});

using Parameters = std::vector<std::pair<std::string, std::string>>;

// What applications ask for in their StartupMessages: settings that can be changed later, so that
// they can share a connection that was opened with the rest.
struct StartupTerms {
  Parameters fixed;
  Settings settings;

  static StartupTerms of(const Parameters& parameters);
};

// The same text for the same parameters, and no other.
std::string key_of(const Parameters& parameters);

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SESSION_STATE_H_
