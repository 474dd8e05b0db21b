// One audit from boot to result.json: the steps that are the same for every VMM.
#ifndef CLONESAFE_TESTS_AUDIT_RUN_AUDIT_RUN_H_
#define CLONESAFE_TESTS_AUDIT_RUN_AUDIT_RUN_H_

#include <string>
#include <vector>

#include "tests/audit/core/analysis.h"
#include "tests/audit/run/vmm.h"

namespace clonesafe::audit {

struct AuditOptions {
  std::string vmm = "clonevm";  // clonevm or qemu
  VmmOptions machine;
  unsigned clones = 2;
  std::string label;        // of the result, in reports; the mode's name by default
  std::string kernel_name;  // in reports: 6.1, 6.12, 7
  bool with_parent = true;  // the parent goes on and is compared too
  std::uint64_t draws = 100;
  std::chrono::milliseconds wait{120000};  // longest, for each probe to draw them
};

struct AuditResult {
  std::string label;
  std::string vmm;
  std::string kernel;
  std::string mode;
  std::string cpu_mask;
  unsigned clones = 0;
  std::vector<ProbeFinding> probes;
  std::vector<RestoreTimes> restores;
};

std::string_view mode_name(Mode mode);
Result<Mode> parse_mode(std::string_view name);
Result<Way> parse_way(std::string_view name);

// Leaves everything in options.machine.folder: consoles, the machines' collections, result.json.
Result<AuditResult> run_audit(const AuditOptions& options);

// result.json of an audit's folder.
std::string to_json(const AuditResult& result);
Result<AuditResult> load_result(const std::filesystem::path& folder);

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_RUN_AUDIT_RUN_H_
