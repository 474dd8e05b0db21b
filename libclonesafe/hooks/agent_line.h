#ifndef CLONESAFE_HOOKS_AGENT_LINE_H_
#define CLONESAFE_HOOKS_AGENT_LINE_H_

#include <cstddef>
#include <cstdint>

namespace clonesafe::hooks {

// What the agent's socket says to a watcher (docs/protocols/agent.md), as far as it matters here.
struct AgentLine {
  enum class What {
    kOther,  // nothing to do: an acknowledgement was taken, the state is another
    kWatching,
    kStatus,
    kBeforeSnapshot,
    kRestored,
    kUndone,
    kRefused,
  };
  What what = What::kOther;
  char id[24] = {};        // printable, without quotes and backslashes
  std::uint32_t kind = 0;  // CS_KIND_ of a restore; 0: a boot, or unknown
  std::uint64_t generation = 0;
  std::uint8_t restore_id[16] = {};
};

// One line without its newline. False: it isn't one JSON object, or an event without an id.
bool read_agent_line(const char* text, std::size_t size, AgentLine& line);

}  // namespace clonesafe::hooks

#endif  // CLONESAFE_HOOKS_AGENT_LINE_H_
