// Probe logs made by hand, for the tests of what is concluded from them.
#ifndef CLONESAFE_TESTS_UNIT_AUDIT_LOGS_H_
#define CLONESAFE_TESTS_UNIT_AUDIT_LOGS_H_

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tests/audit/core/analysis.h"
#include "tests/audit/probe_log.h"

namespace clonesafe::audit {

// A log whose record i holds values[i] and was drawn at i microseconds.
inline std::string make_log(const std::string& name, const std::vector<std::uint64_t>& values,
                            std::uint64_t capacity = 64, ProbeTier tier = ProbeTier::unset) {
  ProbeLogHeader header{};
  std::memcpy(header.magic, kProbeLogMagic, sizeof header.magic);
  header.version = kProbeLogVersion;
  header.record_size = sizeof(ProbeRecord);
  header.capacity = capacity;
  header.started = header.completed = values.size();
  header.tier = static_cast<std::uint32_t>(tier);
  std::memcpy(header.name, name.data(), name.size());
  std::string log(probe_log_size(std::min<std::uint64_t>(values.size(), capacity)), '\0');
  std::memcpy(log.data(), &header, sizeof header);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ProbeRecord record{};
    std::memcpy(record.value, &values[i], sizeof values[i]);
    record.time_ns = i * 1000;
    std::memcpy(log.data() + kProbeLogHeaderSize + i % capacity * sizeof record, &record,
                sizeof record);
  }
  return log;
}

inline Machine make_machine(const std::string& name, const std::string& log,
                            const std::string& id = "") {
  Machine machine{name, name != "parent", {}};
  machine.collection.files["log/probe"] = log;
  machine.collection.files["ended"] = "";
  if (!id.empty()) machine.collection.files["identity/machine-id"] = id;
  return machine;
}

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_UNIT_AUDIT_LOGS_H_
