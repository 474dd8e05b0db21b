#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_CHAIN_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_CHAIN_H_

#include <span>

#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

// A snapshot and what it lies over: a whole snapshot at the bottom, and none or more incremental
// ones on it. Each names the one below by its digest, so that the top's digest names all of it.
class Chain {
 public:
  const Snapshot& top() const { return snapshots_.back(); }
  // From the bottom up.
  const std::vector<Snapshot>& snapshots() const { return snapshots_; }

  // The memory of the top, in a sealed memfd: map it MAP_PRIVATE. Every chunk of every snapshot is
  // checked on the way.
  Result<UniqueFd> import_memory(const Progress& progress = {}) const;
  // The same check without the copy.
  Status verify_memory(const Progress& progress = {}) const;

 private:
  friend Result<Chain> open_chain(const std::filesystem::path& dir,
                                  std::span<const std::filesystem::path> parents, const Key* key);
  Status each(int memory, const Progress& progress) const;
  std::vector<Snapshot> snapshots_;
};

// Opens `dir`. Parents that it needs are looked for by their digest, in `parents` and then among
// the directories beside `dir`: a snapshot names no path.
//
// With a key, `dir` must have its MAC; parents are authentic because it names them by digest.
// Without one, `dir` must have no MAC: what can't be checked is refused.
Result<Chain> open_chain(const std::filesystem::path& dir,
                         std::span<const std::filesystem::path> parents = {},
                         const Key* key = nullptr);

// Checks every byte of every file of the chain, and that its directories hold nothing else.
Result<Chain> verify_chain(const std::filesystem::path& dir,
                           std::span<const std::filesystem::path> parents = {},
                           const Progress& progress = {}, const Key* key = nullptr);

// Writes the whole snapshot that the chain's top is, to `out`. The chain stays.
Result<Written> merge(const Chain& chain, const std::filesystem::path& out,
                      const Progress& progress = {}, const Key* key = nullptr,
                      const std::function<Status(const char* step)>& stop_for_testing = {});

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_CHAIN_H_
