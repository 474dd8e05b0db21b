#include "guest_agent/sources/words.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "guest_agent/base/digest.h"

namespace clonesafe::agent {
namespace {

std::span<const std::uint8_t> bytes_of(const std::uint64_t& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof(value)};
}

std::uint64_t first_word(const Bytes32& bytes) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.data(), sizeof(word));
  return word == 0 ? 1 : word;  // 0 means "none" in the generation page
}

// The words that name the line of history (generation), and those that only say that generators
// must be seeded again.
struct Evidence {
  Id16 id = {};
  std::uint64_t word = 0;
  std::uint64_t marker = 0;
  Id16 resumed = {};
};

Status derive_ids(const Evidence& evidence, Restore& restore) {
  auto generation = digest("clonesafe generation v1", {evidence.id, bytes_of(evidence.word)});
  auto epoch = digest("clonesafe reseed epoch v1", {evidence.id, bytes_of(evidence.word),
                                                    bytes_of(evidence.marker), evidence.resumed});
  auto id = digest("clonesafe restore id v1", {evidence.id, bytes_of(evidence.word),
                                               bytes_of(evidence.marker), evidence.resumed});
  if (!generation) return fail(std::move(generation.error()));
  if (!epoch) return fail(std::move(epoch.error()));
  if (!id) return fail(std::move(id.error()));
  restore.generation = first_word(*generation);
  restore.reseed_epoch = first_word(*epoch);
  std::copy_n(id->begin(), restore.restore_id.size(), restore.restore_id.begin());
  return {};
}

bool page_knows_best(const Words& words) {
  if (!words.page || !words.page->registered) return false;
  if (!words.host_is_newer) return true;
  if (words.resumed) return *words.resumed == words.page->restore_id;
  return words.host && words.host->restore_id == words.page->restore_id;
}

// A `resumed` of which the page doesn't know is a reseed more, of the same machine.
Status take_page(const PageWords& page, const Words& words, Restore& restore) {
  restore.restore_id = page.restore_id;
  restore.generation = page.generation;
  restore.reseed_epoch = page.reseed_epoch;
  restore.vm_generation_id = page.vm_generation_id;
  restore.host_realtime_ns = page.host_realtime_ns;
  restore.decided_by = "generation_page";
  restore.separates_siblings = page.registered;
  if (!words.resumed || *words.resumed == page.restore_id) return {};
  Restore derived;
  if (auto done = derive_ids({.id = page.restore_id, .resumed = *words.resumed}, derived); !done)
    return done;
  restore.restore_id = derived.restore_id;
  restore.reseed_epoch = derived.reseed_epoch;
  return {};
}

}  // namespace

Result<Restore> decide(const Words& words) {
  Restore restore;
  if (words.restore_page) {
    const RestoreWords& page = *words.restore_page;
    restore.restore_id = page.restore_id;
    restore.generation = page.generation;
    restore.reseed_epoch = page.reseed_epoch;
    restore.vm_generation_id = page.vm_generation_id;
    restore.host_realtime_ns = page.host_realtime_ns;
    restore.tsc = page.tsc;
    restore.tsc_khz = page.tsc_khz;
    restore.kind = page.kind;
    restore.metadata = page.metadata;
    restore.decided_by = "restore_page";
    restore.separates_siblings = true;
    return restore;
  }

  const bool word = words.vm_generation_id || (words.vmclock && words.vmclock->generation_counter);
  const bool nothing_else = !words.host && !words.vmclock && words.kernel_notice.value_or(0) == 0;
  if (words.page && !word && (page_knows_best(words) || nothing_else)) {
    if (auto taken = take_page(*words.page, words, restore); !taken)
      return fail(std::move(taken.error()));
    return restore;
  }

  Evidence evidence;
  const auto counter = words.vmclock ? words.vmclock->generation_counter : std::nullopt;
  if (words.vmclock) evidence.marker = words.vmclock->disruption_marker;
  if (words.resumed) evidence.resumed = *words.resumed;
  if (words.vm_generation_id) {
    restore.vm_generation_id = evidence.id = *words.vm_generation_id;
    restore.decided_by = "vmgenid";
    restore.separates_siblings = true;
  }
  if (counter) {
    evidence.word = *counter;
    if (!words.vm_generation_id) restore.decided_by = "vmclock";
  }
  if (!words.vm_generation_id && !counter) {
    if (words.host) {
      if (!words.resumed) restore.kind = words.host->kind;
      evidence.id = words.host->restore_id;
      restore.host_realtime_ns = words.host->realtime_ns;
      restore.monotonic_ns = words.host->heard_at_ns;
      restore.metadata = words.host->metadata.value_or("");
      restore.decided_by = "host";
      restore.separates_siblings = true;
    } else if (words.vmclock) {
      restore.decided_by = "vmclock";
    } else if (words.kernel_notice) {
      evidence.word = *words.kernel_notice;
      restore.decided_by = "kmsg";
    }
  }
  if (auto derived = derive_ids(evidence, restore); !derived) {
    return fail(std::move(derived.error()));
  }
  return restore;
}

}  // namespace clonesafe::agent
