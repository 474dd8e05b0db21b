#ifndef CLONESAFE_IDS_WORKER_RANGE_H_
#define CLONESAFE_IDS_WORKER_RANGE_H_

#include <cstdint>
#include <string_view>

namespace clonesafe::ids {

// The worker ids that an operator's document gives a machine, both ends included.
struct WorkerRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};

enum class RangeCondition : std::uint8_t { kFound, kAbsent, kMalformed };

// `clonesafe_worker_ids`, then 7 or 128-191 in decimal digits. Between name and number there may be
// blanks, quotes, a colon or an equals sign, so that it may stand in JSON, YAML, TOML, INI or a
// shell's variables. Malformed if it is there twice, or is no range.
RangeCondition find_worker_range(std::string_view document, WorkerRange& range);

}  // namespace clonesafe::ids

#endif  // CLONESAFE_IDS_WORKER_RANGE_H_
