// supervisor: restores one snapshot to many clones, a process each, watches them until they end,
// and says when each is safe; no KVM in it.
//
// The parent checks the snapshot and imports its memory once, before the first fork. It holds no
// KVM fd and starts no thread that outlives the import, so that fork is cheap and nothing of one
// clone reaches another.
#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_SUPERVISOR_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_SUPERVISOR_H_

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "vmm_device/supervisor/clone_process.h"

namespace clonesafe::supervisor {

// How far every clone must get before the supervisor calls the restore done. `automatic`: safe if
// an agent was connected when the snapshot was taken, running if not.
enum class Wait { automatic, running, safe };

struct RestoreOptions {
  std::filesystem::path snapshot;
  // Where parents of an incremental snapshot are that are not beside it.
  std::vector<std::filesystem::path> parents;
  std::optional<std::filesystem::path> key;  // file; the snapshot must have its MAC
  std::uint32_t count = 1;
  // Must not exist, or be empty; a folder per clone is made in it. Not given: a new one in
  // $XDG_RUNTIME_DIR or /tmp, named on stderr.
  std::optional<std::filesystem::path> run_dir;
  Wait wait = Wait::automatic;
  std::chrono::milliseconds timeout{60'000};    // for `wait`, from the first fork
  std::chrono::milliseconds stop_grace{5'000};  // between SIGTERM and SIGKILL
  bool move = false;                            // count must be 1
  bool track_dirty = false;
  std::optional<std::filesystem::path> metadata;  // file, see read_metadata
  bool json = false;
  std::filesystem::path cgroup;  // that each clone's process joins; empty: none
  // Called with what is restored, before anything is made or used up: opens what the clones need
  // beside it. Empty: nothing.
  std::function<Status(const snapshot::Snapshot&)> prepare;
  // Called once all clones have been started, to confine this process; an error ends them. Empty:
  // nothing.
  std::function<Status()> confine;
};

// `clonevm restore`: returns the exit code. Results go to `out`, errors and progress to `err`.
// Returns once every clone has ended. 0: all reached `wait`, and none failed after that.
// Call it from a program with one thread.
int restore_command(const RestoreOptions& options, const RunClone& run_clone,
                    std::FILE* out = stdout, std::FILE* err = stderr);

// What `clonevm fork` gets from the running machine: `memory` is sealed.
struct Taken {
  snapshot::Snapshot snapshot;
  UniqueFd memory;
};

// `clonevm fork`: the same with what `take` gives instead of a directory; `snapshot`, `parents` and
// `move` of the options are not for it.
int fork_command(const RestoreOptions& options, const std::function<Result<Taken>()>& take,
                 const RunClone& run_clone, std::FILE* out = stdout, std::FILE* err = stderr);

// `clonevm inspect DIR` and `clonevm verify DIR`.
int inspect_command(const std::filesystem::path& snapshot, bool json, std::FILE* out = stdout,
                    std::FILE* err = stderr);
int verify_command(const std::filesystem::path& snapshot, bool json, std::FILE* out = stdout,
                   std::FILE* err = stderr, std::span<const std::filesystem::path> parents = {},
                   const std::optional<std::filesystem::path>& key = {});

struct MergeOptions {
  std::filesystem::path snapshot;
  std::vector<std::filesystem::path> parents;  // those that are not beside it
  std::filesystem::path out;
  std::optional<std::filesystem::path> key;  // of the snapshot, and then of what is written
  bool json = false;
};

// `clonevm merge`: makes one whole snapshot of an incremental one and what it lies over.
int merge_command(const MergeOptions& options, std::FILE* out = stdout, std::FILE* err = stderr);

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_SUPERVISOR_H_
