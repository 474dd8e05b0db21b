// The C functions of hooks.h over the classes of this folder.
#include <cerrno>
#include <cstring>

#include "clonesafe/hooks.h"
#include "libclonesafe/hooks/registry.h"
#include "libclonesafe/hooks/watcher.h"

namespace {

using namespace clonesafe::hooks;

constexpr int kMostEvents = 8;

class KeepErrno {
 public:
  KeepErrno() : kept_(errno) {}
  ~KeepErrno() { errno = kept_; }

 private:
  int kept_;
};

int add(const cs_hook_options* options, std::uint32_t phase, cs_hook** hook) {
  if (hook == nullptr) return CS_E_INVALID;
  *hook = nullptr;
  if (options == nullptr) return CS_E_INVALID;
  if (interrupted()) return CS_E_BUSY;
  const KeepErrno keep;
  return registry().add(*options, phase, *hook);
}

// What is known without any change.
int happened_now(std::uint32_t phase, std::uint32_t kind, Happened& happened) {
  cs_status_report now = {};
  if (const int result = cs_status(&now, sizeof(now)); result != 0) return result;
  happened = {.phase = phase, .kind = kind};
  happened.old_generation = happened.new_generation = now.stamp.generation;
  std::memcpy(happened.restore_id, now.restore_id, sizeof(happened.restore_id));
  return 0;
}

}  // namespace

int cs_before_snapshot_hook(const struct cs_hook_options* options, struct cs_hook** hook) {
  return add(options, CS_PHASE_BEFORE_SNAPSHOT, hook);
}

int cs_after_restore_hook(const struct cs_hook_options* options, struct cs_hook** hook) {
  return add(options, CS_PHASE_AFTER_RESTORE, hook);
}

void cs_hook_remove(struct cs_hook* hook) {
  const KeepErrno keep;
  if (hook != nullptr) registry().remove(hook);
}

int cs_poll(void) {
  if (in_hook() || interrupted()) return CS_E_BUSY;
  const KeepErrno keep;
  if (const int result = registry().begin(); result != 0) return result;
  if (!registry().changed() || watcher_state() != CS_WATCH_OFF) return 0;
  const Registry::Turn turn(registry(), false);
  if (!turn) return 0;
  int handled = 0;
  while (handled < kMostEvents) {
    Happened happened;
    const int changed = registry().look(happened);
    if (changed < 0 && handled == 0) return changed;
    if (changed <= 0) break;
    if (const int outcome = registry().handle(happened, {}); outcome < 0) return outcome;
    ++handled;
  }
  return handled;
}

int cs_before_snapshot(void) {
  if (in_hook() || interrupted()) return CS_E_BUSY;
  const KeepErrno keep;
  if (const int result = registry().begin(); result != 0) return result;
  const Registry::Turn turn(registry(), true);
  Happened happened;
  if (const int result = happened_now(CS_PHASE_BEFORE_SNAPSHOT, CS_KIND_SNAPSHOT, happened);
      result != 0)
    return result;
  return registry().handle(happened, {});
}

int cs_after_restore(void) {
  if (in_hook() || interrupted()) return CS_E_BUSY;
  const KeepErrno keep;
  if (const int result = registry().begin(); result != 0) return result;
  const Registry::Turn turn(registry(), true);
  Happened happened;
  int outcome = CS_HOOK_OK;
  for (int i = 0; i < kMostEvents; ++i) {
    int result = registry().look(happened);
    if (result == 0 && i > 0) return outcome;
    if (result == 0) result = happened_now(CS_PHASE_AFTER_RESTORE, CS_KIND_UNDONE, happened);
    if (result < 0) return result;
    outcome = registry().handle(happened, {});
    if (outcome < 0) return outcome;
  }
  return outcome;
}

int cs_hooks_outcome(void) {
  return interrupted() ? CS_E_BUSY : registry().outcome();
}

int cs_hooks_report(struct cs_hook_report* reports, size_t size, size_t capacity) {
  // No later version's reports will be as large.
  constexpr std::size_t kMostSize = 4096;
  if ((reports == nullptr && capacity != 0) || size < offsetof(struct cs_hook_report, name) ||
      size > kMostSize)
    return CS_E_INVALID;
  if (interrupted()) return CS_E_BUSY;
  return registry().report(reports, size, capacity);
}

int cs_watch_start(const struct cs_watch_options* options) {
  constexpr cs_watch_options kDefaults = {};
  if (options == nullptr) options = &kDefaults;
  if (options->reserved32 != 0 || options->reserved[0] != 0 || options->reserved[1] != 0)
    return CS_E_INVALID;
  if (in_hook() || interrupted()) return CS_E_BUSY;
  const KeepErrno keep;
  return start_watcher(*options);
}

int cs_watch_stop(void) {
  if (in_hook() || interrupted()) return CS_E_BUSY;
  const KeepErrno keep;
  return stop_watcher();
}

int cs_watch_state(void) {
  return watcher_state();
}
