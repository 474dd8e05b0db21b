#ifndef CLONESAFE_GUEST_AGENT_HELPER_MESSAGES_H_
#define CLONESAFE_GUEST_AGENT_HELPER_MESSAGES_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "guest_agent/hooks/hooks.h"
#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// What the agent asks of its helper process, one thing at a time. Each message is one packet of the
// socket between the two, and JSON; both ends are this program.

// The programs of a phase, one after another. Whose they are, and what their environment is besides
// these words, is the helper's: whoever takes the agent over can run nothing else by it.
struct RunHooks {
  HookPhase phase = HookPhase::kAfterRestore;
  std::chrono::milliseconds each{10'000};
  std::chrono::milliseconds all{60'000};
  std::string cause;
  std::string generation;
  std::string reseed_epoch;
  std::string restore_id;
};

// Memory that a snapshot need not hold, given back to the machine: what is cached is written to
// disk and dropped, and then, for `reclaim` if that is not zero, the kernel's own reclaim of idle
// pages (DAMON) runs.
struct TrimMemory {
  bool drop_caches = true;
  std::chrono::milliseconds reclaim{0};
};

// The machine, at once, without anybody's shutdown: what is unsafe must not act any more.
struct PowerOff {};

// Ends what is being done. Its answer is still the last one's end.
struct CancelRun {};

using HelperTask = std::variant<RunHooks, TrimMemory, PowerOff, CancelRun>;

struct HelperRequest {
  std::uint64_t id = 0;
  HelperTask what;
};

struct HelperAnswer {
  std::uint64_t id = 0;
  std::optional<RepairResult> result;  // absent: that was all
};

std::string to_packet(const HelperRequest& request);
std::string to_packet(const HelperAnswer& answer);
Result<HelperRequest> parse_helper_request(std::string_view packet);
Result<HelperAnswer> parse_helper_answer(std::string_view packet);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HELPER_MESSAGES_H_
