// Compares the logs of machines that were one machine until the cut.
#ifndef CLONESAFE_TESTS_AUDIT_CORE_ANALYSIS_H_
#define CLONESAFE_TESTS_AUDIT_CORE_ANALYSIS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "tests/audit/core/collection.h"
#include "tests/audit/core/cut.h"

namespace clonesafe::audit {

struct Machine {
  std::string name;  // "parent", "clone 1", ...
  bool is_clone = true;
  Collection collection;
};

struct ProbeFinding {
  std::string name;
  std::uint64_t samples = 0;  // values drawn after the cut, over all machines
  // Different values of this probe that were drawn after the cut by more than one machine, or by
  // one machine twice, or that the parent drew before it; by this probe or another one.
  std::uint64_t duplicates = 0;
  std::uint64_t in_hand = 0;  // machines that may have held a drawn value at the cut
  std::uint64_t in_hand_duplicates =
      0;  // machines whose value in hand another one stored too; not part of duplicates
  // From the first draw after the restore (of any probe in that machine) to the last duplicated
  // one; the longest of all machines.
  std::optional<std::uint64_t> window_us;
  std::string tier;  // as the probe's source said it at the end: none, lagging, announced, word;
                     // empty if it didn't say
};

// Probes that draw from a state which no mechanism reaches from outside the process: they need a
// hook that reseeds them after a restore. Shown, never counted as safe. The one list of them.
bool needs_hook(std::string_view probe);

// One finding per probe log (name order), then one per identity file. A log that is lapped, lost or
// not a log, a probe that ended, and a probe without a sample after the cut are errors: they would
// hide duplicates.
Result<std::vector<ProbeFinding>> analyse(const Cuts& cuts, const std::vector<Machine>& machines);

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_CORE_ANALYSIS_H_
