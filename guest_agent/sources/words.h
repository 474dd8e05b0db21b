// sources: finds out that this machine was restored. The memory words that a VMM writes decide (by
// !=, never by >); interrupts, log lines and connection resets only wake the agent to look at them.
#ifndef CLONESAFE_GUEST_AGENT_SOURCES_WORDS_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_WORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "guest_agent/base/bytes.h"
#include "libclonesafe/base/error.h"
#include "libclonesafe/base/restore_kind.h"

namespace clonesafe::agent {

// What the restore page says: the whole story, from a VMM that knows of clonesafe.
struct RestoreWords {
  Id16 restore_id = {};
  RestoreKind kind = RestoreKind::kBoot;
  std::uint64_t generation = 0;
  std::uint64_t reseed_epoch = 0;
  Id16 vm_generation_id = {};
  std::uint64_t host_realtime_ns = 0;
  // This machine's TSC at host_realtime_ns; 0 kHz where the VMM doesn't say.
  std::uint64_t tsc = 0;
  std::uint32_t tsc_khz = 0;
  std::string metadata;  // the operator's bytes

  bool operator==(const RestoreWords&) const = default;
};

struct VmclockWords {
  std::uint64_t disruption_marker = 0;
  // Absent where the VMM doesn't set flag 8 (QEMU 10).
  std::optional<std::uint64_t> generation_counter;

  bool operator==(const VmclockWords&) const = default;
};

// What the host said over vsock in `welcome` or `resumed` (docs/protocols/host.md).
struct HostWords {
  Id16 restore_id = {};
  RestoreKind kind = RestoreKind::kBoot;
  // The host's CLOCK_REALTIME when it said so, 0 if it didn't, and this machine's CLOCK_MONOTONIC
  // when it was heard.
  std::uint64_t realtime_ns = 0;
  std::int64_t heard_at_ns = 0;
  std::optional<std::string> metadata;

  bool operator==(const HostWords&) const = default;
};

// What the agent's own page says: what an earlier agent published there, or what a VMM that knows
// the page wrote at a restore.
struct PageWords {
  Id16 restore_id = {};
  std::uint64_t generation = 0;
  std::uint64_t reseed_epoch = 0;
  Id16 vm_generation_id = {};
  std::uint64_t host_realtime_ns = 0;
  bool registered = false;  // with a VMM, which writes it at each restore

  bool operator==(const PageWords&) const = default;
};

// What all sources say at one moment. An absent member is a source that is not there.
struct Words {
  std::optional<RestoreWords> restore_page;
  std::optional<Id16> vm_generation_id;
  std::optional<VmclockWords> vmclock;
  // The restore that the host named when the connection began, and the last `resumed` since: a
  // source that goes on after its snapshot keeps its generation.
  std::optional<HostWords> host;
  std::optional<Id16> resumed;
  std::optional<PageWords> page;
  // The host said its last word after the page last changed: if the two differ, the VMM had lost
  // the page.
  bool host_is_newer = false;
  // Position of the newest "reseeded due to virtual machine fork" line in the kernel's log, 0 if
  // there is none.
  std::optional<std::uint64_t> kernel_notice;

  bool operator==(const Words&) const = default;
};

// One restore of this machine (or its boot), as the best source tells it. Two moments are the same
// restore if, and only if, their restore ids are equal.
struct Restore {
  Id16 restore_id = {};
  std::uint64_t generation = 0;
  std::uint64_t reseed_epoch = 0;
  Id16 vm_generation_id = {};  // zero where there is none
  std::uint64_t host_realtime_ns = 0;
  std::uint64_t tsc = 0;  // at host_realtime_ns, if tsc_khz is not 0
  std::uint32_t tsc_khz = 0;
  std::int64_t monotonic_ns = 0;  // CLOCK_MONOTONIC then, if not 0
  std::string metadata;           // the operator's document for this machine; empty: none
  // From a restore page or the host. Without them the agent finds out by comparing generations.
  std::optional<RestoreKind> kind;
  // The source that decided, as status names it; "none" if there is none.
  std::string_view decided_by = "none";
  // Whether the words differ between siblings of one snapshot (a bare counter may not).
  bool separates_siblings = false;
};

// Who decides: the restore page if there is one. Else VMGENID and VMCLOCK's counter together; else
// the host's word; last the kernel's log line. A lower one is not looked at where a higher one is
// there, or one restore would be counted twice, once by each. VMCLOCK's disruption marker and the
// host's `resumed` move only the reseed epoch: a live migration moves the marker too.
Result<Restore> decide(const Words& words);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_WORDS_H_
