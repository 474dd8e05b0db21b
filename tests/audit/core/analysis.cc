#include "tests/audit/core/analysis.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "tests/audit/probe_log.h"

namespace clonesafe::audit {
namespace {

constexpr std::array<std::string_view, 5> kNeedsHook = {
    "cxx.mt19937",       // std::mt19937: state in the process, seeded once
    "cxx.openssl_rand",  // stock RAND_bytes in a running process: libcrypto's own DRBG
    "cxx.snowflake",     // milliseconds and a worker id that was read once
    "python.random",     // Python's random: Mersenne Twister, seeded once
    "python.ssl",        // ssl.RAND_bytes: libcrypto's own DRBG
};

constexpr std::string_view kLogPrefix = "log/";
constexpr std::string_view kIdentityPrefix = "identity/";

// A log as it was collected, checked.
class Log {
 public:
  static Result<Log> parse(std::string_view bytes, const std::string& where) {
    Log log;
    if (bytes.size() < kProbeLogHeaderSize) return fail(where + " is shorter than its header");
    std::memcpy(&log.header_, bytes.data(), sizeof log.header_);
    if (!is_probe_log(log.header_)) return fail(where + " is not a probe log");
    log.records_ = bytes.substr(kProbeLogHeaderSize);
    const std::uint64_t kept = std::min(log.header_.completed, log.header_.capacity);
    if (log.records_.size() / sizeof(ProbeRecord) < kept) return fail(where + " is cut off");
    return log;
  }

  std::uint64_t completed() const { return header_.completed; }
  std::uint32_t tier() const { return header_.tier; }
  // Records below this number were overwritten.
  std::uint64_t first_kept() const {
    // The probe may have been stopped while it stored the next record over the oldest one.
    const std::uint64_t end = std::max(header_.started, header_.completed);
    return end > header_.capacity ? end - header_.capacity : 0;
  }
  ProbeRecord record(std::uint64_t number) const {
    ProbeRecord record;
    std::memcpy(&record, records_.data() + number % header_.capacity * sizeof record,
                sizeof record);
    return record;
  }

 private:
  ProbeLogHeader header_{};
  std::string_view records_;
};

// What two records are compared by. The bits that a UUID's version and variant take are left out,
// so that a UUID is also found equal to the random bytes that another program made no UUID of.
std::string value_of(const ProbeRecord& record) {
  std::string value(reinterpret_cast<const char*>(record.value), sizeof record.value);
  value[6] = static_cast<char>(value[6] & 0x0f);
  value[8] = static_cast<char>(value[8] & 0x3f);
  return value;
}

std::string tier_name(std::uint32_t tier) {
  switch (static_cast<ProbeTier>(tier)) {
    case ProbeTier::none:
      return "none";
    case ProbeTier::lagging:
      return "lagging";
    case ProbeTier::announced:
      return "announced";
    case ProbeTier::word:
      return "word";
    case ProbeTier::unset:
      break;
  }
  return "";
}

// The machine's clock at its first draw after the restore, over all its probes.
std::uint64_t first_draw_ns(const Cuts& cuts, const std::map<std::string, Log>& logs) {
  std::uint64_t first = std::numeric_limits<std::uint64_t>::max();
  for (const auto& [name, log] : logs) {
    const Cut& cut = cuts.at(name);
    if (log.completed() > cut.completed) {
      first = std::min(first, log.record(cut.completed).time_ns);
    }
  }
  return first;
}

Result<std::map<std::string, Log>> logs_of(const Cuts& cuts, const Machine& machine) {
  std::map<std::string, Log> logs;
  for (const auto& [file, bytes] : machine.collection.files) {
    if (!file.starts_with(kLogPrefix)) continue;
    const std::string name = file.substr(kLogPrefix.size());
    const std::string where = machine.name + ": log of probe " + name;
    const auto cut = cuts.find(name);
    if (cut == cuts.end()) return fail(where + ": the snapshot's memory holds no such log");
    auto log = Log::parse(bytes, where);
    if (!log) return fail(log.error());
    if (log->first_kept() > cut->second.completed) {
      return fail(where + " is lapped: record " + std::to_string(cut->second.completed) +
                  " after the cut was overwritten");
    }
    if (log->completed() <= cut->second.started) {
      return fail(where + " has no value that was drawn after the restore");
    }
    logs.emplace(name, *log);
  }
  for (const auto& [name, cut] : cuts) {
    if (!logs.contains(name)) return fail(machine.name + " gave no log of probe " + name);
  }
  const auto ended = machine.collection.files.find("ended");
  if (ended != machine.collection.files.end() && !ended->second.empty()) {
    return fail(machine.name +
                ": a probe ended: " + ended->second.substr(0, ended->second.find('\n')));
  }
  return logs;
}

// All that was drawn, by whichever probe: clones share the kernel's generator among their programs,
// so what one program draws in a clone may be what another one draws in its sibling.
struct Drawn {
  std::unordered_set<std::string> before;
  std::unordered_map<std::string, std::uint64_t> after;  // and how often

  bool repeated(const std::string& value) const {
    const auto times = after.find(value);
    return before.contains(value) || (times != after.end() && times->second > 1);
  }
};

Drawn all_drawn(const Cuts& cuts, const std::vector<std::map<std::string, Log>>& machines) {
  Drawn drawn;
  for (const auto& logs : machines) {
    for (const auto& [name, log] : logs) {
      const Cut& cut = cuts.at(name);
      for (std::uint64_t i = log.first_kept(); i < cut.completed; ++i) {
        drawn.before.insert(value_of(log.record(i)));
      }
      for (std::uint64_t i = cut.started; i < log.completed(); ++i) {
        ++drawn.after[value_of(log.record(i))];
      }
    }
  }
  return drawn;
}

ProbeFinding find_in_logs(const std::string& name, const Cut& cut, const Drawn& drawn,
                          const std::vector<const Log*>& logs,
                          const std::vector<std::uint64_t>& origins) {
  ProbeFinding finding{.name = name};
  std::unordered_set<std::string> repeated;
  for (std::size_t machine = 0; machine < logs.size(); ++machine) {
    const Log& log = *logs[machine];
    finding.tier = tier_name(log.tier());
    finding.samples += log.completed() - cut.started;
    for (std::uint64_t i = cut.started; i < log.completed(); ++i) {
      const ProbeRecord record = log.record(i);
      const std::string value = value_of(record);
      if (!drawn.repeated(value)) continue;
      repeated.insert(value);
      const std::uint64_t us =
          record.time_ns > origins[machine] ? (record.time_ns - origins[machine]) / 1000 : 0;
      finding.window_us = std::max(finding.window_us.value_or(0), us);
    }
  }
  finding.duplicates = repeated.size();
  if (cut.started > cut.completed) {
    std::unordered_map<std::string, std::uint64_t> held;
    for (const Log* log : logs) ++held[value_of(log->record(cut.completed))];
    finding.in_hand = logs.size();
    for (const auto& [value, times] : held) {
      if (times > 1) finding.in_hand_duplicates += times;
    }
  }
  return finding;
}

}  // namespace

bool needs_hook(std::string_view probe) {
  // A log of one thread is named PROBE.THREAD.
  return std::ranges::any_of(kNeedsHook, [&](std::string_view name) {
    return probe.starts_with(name) && (probe.size() == name.size() || probe[name.size()] == '.');
  });
}

Result<std::vector<ProbeFinding>> analyse(const Cuts& cuts, const std::vector<Machine>& machines) {
  if (machines.size() < 2) return fail("two machines at least are needed to compare");
  std::vector<std::map<std::string, Log>> logs;
  std::vector<std::uint64_t> origins;
  for (const Machine& machine : machines) {
    auto parsed = logs_of(cuts, machine);
    if (!parsed) return fail(parsed.error());
    origins.push_back(first_draw_ns(cuts, *parsed));
    logs.push_back(*std::move(parsed));
  }
  const Drawn drawn = all_drawn(cuts, logs);
  std::vector<ProbeFinding> findings;
  for (const auto& [name, cut] : cuts) {
    std::vector<const Log*> of_probe;
    for (const auto& parsed : logs) of_probe.push_back(&parsed.at(name));
    findings.push_back(find_in_logs(name, cut, drawn, of_probe, origins));
  }
  std::map<std::string, std::map<std::string, std::uint64_t>> identity;
  for (const Machine& machine : machines) {
    for (const auto& [file, value] : machine.collection.files) {
      if (!file.starts_with(kIdentityPrefix)) continue;
      if (value.empty()) return fail(machine.name + " gave no " + file);
      ++identity["identity." + file.substr(kIdentityPrefix.size())][value];
    }
  }
  for (const auto& [name, values] : identity) {
    ProbeFinding finding{.name = name};
    for (const auto& [value, times] : values) {
      finding.samples += times;
      if (times > 1) ++finding.duplicates;
    }
    if (finding.samples != machines.size()) return fail("not every machine gave " + name);
    findings.push_back(finding);
  }
  return findings;
}

}  // namespace clonesafe::audit
