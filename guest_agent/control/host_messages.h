#ifndef CLONESAFE_GUEST_AGENT_CONTROL_HOST_MESSAGES_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_HOST_MESSAGES_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "guest_agent/base/bytes.h"
#include "guest_agent/page/published_page.h"
#include "guest_agent/repairs/repair.h"
#include "guest_agent/sources/words.h"
#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// The messages of docs/protocols/host.md, from both ends.

struct Welcome {
  std::string host;
  HostWords words;
  std::uint64_t secret_pages = 0;  // how many it keeps out of snapshots; 0: it can't
};
struct Registered {
  bool ok = false;
  std::string error;
};
struct SecretsRegistered {
  std::string id;
  bool ok = false;
  std::string error;
};
struct CheckSecrets {};
struct Prepare {
  std::string id;
  std::chrono::milliseconds deadline{0};
};
struct Resumed {
  HostWords words;
};
struct Abort {
  std::string id;
};
using HostMessage =
    std::variant<Welcome, Registered, SecretsRegistered, CheckSecrets, Prepare, Resumed, Abort>;

// One line without its newline. Members that are not known are passed over; a type that is not
// known, or a member that is missing or of the wrong type, is an error that names it.
Result<HostMessage> parse_host_message(std::string_view line);

struct SafeReport {
  Id16 restore_id = {};
  std::uint64_t generation = 0;
  std::uint64_t reseed_epoch = 0;
  bool degraded = false;
  std::vector<std::string> sources;
  std::vector<RepairResult> repairs;
};

// Lines for the host, each with its newline.
std::string hello_line(std::string_view agent_version, std::string_view kernel_release);
std::string register_line(const PageRegistration& registration);
std::string register_secrets_line(std::string_view id, const std::vector<PageRegistration>& pages);
std::string prepared_line(std::string_view id, const Status& outcome,
                          const std::vector<RepairResult>& steps);
std::string safe_line(const SafeReport& report);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_HOST_MESSAGES_H_
