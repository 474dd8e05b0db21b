// repairs: makes a restored machine's state its own again: a table of small units with a declared
// order, each of which reads back its effect and says what came of it.
#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_REPAIR_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_REPAIR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "guest_agent/base/bytes.h"
#include "guest_agent/sources/words.h"

namespace clonesafe::agent {

// The order of repairs. The kernel's generator first: what comes later draws from it. Last, what
// the operator's document is for.
enum class Stage : std::uint8_t { kKernelRng, kClock, kIdentity, kDocument };

enum class Outcome : std::uint8_t { kOk, kFailed, kSkipped };
std::string_view name_of(Outcome outcome);

// What came of one repair, as the host is told it (docs/protocols/host.md).
struct RepairResult {
  std::string name;
  Outcome outcome = Outcome::kOk;
  std::uint64_t us = 0;
  std::string detail;  // one line; empty for a plain success
};

struct RepairEvent {
  Restore restore;
  RestoreKind kind = RestoreKind::kBoot;
  Bytes32 diversifier = {};
  // Machine identity changes for a clone only: not at boot, not when the source goes on after its
  // snapshot, not for a move (the parent is gone).
  bool new_identity() const { return kind == RestoreKind::kClone; }
};

class Repair {
 public:
  struct Finding {
    Outcome outcome = Outcome::kOk;
    std::string detail;
  };
  static Finding ok(std::string detail = {}) { return {Outcome::kOk, std::move(detail)}; }
  static Finding failed(std::string detail) { return {Outcome::kFailed, std::move(detail)}; }
  static Finding skipped(std::string detail) { return {Outcome::kSkipped, std::move(detail)}; }

  virtual ~Repair() = default;
  virtual std::string_view name() const = 0;
  virtual Stage stage() const = 0;
  virtual Finding run(const RepairEvent& event) = 0;
};

// The table. Repairs of one stage run in the order in which they were added.
class RepairTable {
 public:
  void add(std::unique_ptr<Repair> repair) { repairs_.push_back(std::move(repair)); }
  // Runs the repairs of one stage and appends what came of each.
  void run(Stage stage, const RepairEvent& event, std::vector<RepairResult>& results);
  // Runs one stage again, and replaces what came of it.
  void run_again(Stage stage, const RepairEvent& event, std::vector<RepairResult>& results);
  // Runs those again that failed according to `results`, and replaces what came of them.
  void run_failed(const RepairEvent& event, std::vector<RepairResult>& results);
  // Whether one of the table's own is among what failed.
  bool any_failed(const std::vector<RepairResult>& results) const;

 private:
  Repair* find(std::string_view name) const;

  std::vector<std::unique_ptr<Repair>> repairs_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_REPAIR_H_
