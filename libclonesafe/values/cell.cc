// values: what a program keeps, with the generation that it was made in.
//
// This file: cells that are built once in each generation.
#include <pthread.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "clonesafe/values.h"
#include "libclonesafe/core/fork_lock.h"
#include "libclonesafe/core/seams.h"

using clonesafe::core::ForkCondition;
using clonesafe::core::ForkGuard;
using clonesafe::core::ForkLock;
using clonesafe::core::StopPoint;

struct cs_handle {
  std::atomic<std::uint64_t> references;
  void* value;
  cs_stamp stamp;
  // The cell may be gone before its last handle.
  unsigned changes;
  void (*release)(void* value, int stale, void* argument);
  void* argument;
};

namespace {

constexpr int kBuildTries = 8;

// The private part of a cell. What it holds is whole after each store: see ForkLock.
struct Cell {
  unsigned changes;
  void (*release)(void* value, int stale, void* argument);
  void* argument;
  ForkLock lock;
  ForkCondition built;
  // Who builds: its process and thread; a process of 0 is nobody. Written thread first.
  std::uint64_t building_process;
  std::uint64_t building_thread;
  cs_handle* current;
};
static_assert(sizeof(Cell) == sizeof(cs_cell) && offsetof(Cell, lock) == offsetof(cs_cell, lock) &&
              offsetof(Cell, built) == offsetof(cs_cell, waits) &&
              offsetof(Cell, current) == offsetof(cs_cell, current));

Cell& cell_of(cs_cell* cell) {
  return *reinterpret_cast<Cell*>(cell);
}

unsigned changes_of(const Cell& cell) {
  return cell.changes != 0 ? cell.changes : CS_CHANGED_GENERATION | CS_CHANGED_FORK;
}

std::uint64_t this_thread() {
  return static_cast<std::uint64_t>(::pthread_self());
}

bool is_stale(const cs_handle& handle) {
  return cs_handle_stale(&handle) != 0;
}

// Takes the cell for this thread to build in, or finds its value. 0 with `handle` or, if there is
// none, with the cell taken; CS_E_BUSY.
int find_or_take(Cell& cell, cs_handle*& handle) {
  const ForkGuard guard(cell.lock);
  for (;;) {
    handle = cell.current;
    if (handle != nullptr && !is_stale(*handle)) {
      handle->references.fetch_add(1, std::memory_order_relaxed);
      return 0;
    }
    handle = nullptr;
    const std::uint64_t own = clonesafe::core::own_fork_word() + 1;
    // A builder of another name is a thread of the parent's, which isn't here.
    if (cell.building_process != own) {
      cell.building_thread = this_thread();
      cell.building_process = own;
      return 0;
    }
    if (cell.building_thread == this_thread()) return CS_E_BUSY;
    cell.built.wait(cell.lock);
  }
}

// Ends the building. False if somebody else, in a child that this thread found itself in, took it
// over; then `made` isn't put in place.
bool end_building(Cell& cell, std::uint64_t process, cs_handle* made) {
  cs_handle* before = nullptr;
  {
    const ForkGuard guard(cell.lock);
    if (cell.building_process != process || cell.building_thread != this_thread()) return false;
    if (made != nullptr) {
      made->references.store(2, std::memory_order_relaxed);  // the cell's and the caller's
      before = cell.current;
      cell.current = made;
    }
    cell.building_process = 0;
    cell.built.notify_all();
  }
  cs_handle_release(before);
  return true;
}

// One value that was made in one generation, with one reference.
int build_value(const Cell& cell, cs_build* build, void* argument, cs_handle*& made) {
  void* memory = std::malloc(sizeof(cs_handle));
  if (memory == nullptr) return CS_E_MEMORY;
  auto* handle = new (memory) cs_handle{};
  handle->references.store(1, std::memory_order_relaxed);
  handle->changes = changes_of(cell);
  handle->release = cell.release;
  handle->argument = cell.argument;
  int result = CS_E_UNSTABLE;
  for (int i = 0; i < kBuildTries; ++i) {
    result = cs_generation(&handle->stamp);
    if (result != 0) break;
    void* value = nullptr;
    result = build(argument, &value);
    if (result != 0) break;
    clonesafe::core::stop_at(StopPoint::kAfterBuild);
    handle->value = value;
    if (!is_stale(*handle)) {
      made = handle;
      return 0;
    }
    if (handle->release != nullptr)
      handle->release(value, cs_handle_stale(handle), handle->argument);
    result = CS_E_UNSTABLE;
  }
  std::free(memory);
  return result;
}

}  // namespace

int cs_once_per_generation(struct cs_cell* cell, cs_build* build, void* argument,
                           struct cs_handle** handle) {
  if (handle == nullptr) return CS_E_INVALID;
  *handle = nullptr;
  if (cell == nullptr || build == nullptr) return CS_E_INVALID;
  Cell& own = cell_of(cell);
  for (int i = 0; i < kBuildTries; ++i) {
    cs_handle* found = nullptr;
    if (const int result = find_or_take(own, found); result != 0) return result;
    if (found == nullptr) {
      const std::uint64_t process = own.building_process;
      const int result = build_value(own, build, argument, found);
      if (!end_building(own, process, found)) {
        cs_handle_release(found);
        continue;
      }
      if (result != 0) return result;
    }
    *handle = found;
    return 0;
  }
  return CS_E_UNSTABLE;
}

void* cs_handle_value(const struct cs_handle* handle) {
  return handle != nullptr ? handle->value : nullptr;
}

int cs_handle_stale(const struct cs_handle* handle) {
  if (handle == nullptr) return cs_changed(nullptr);
  return cs_changed(&handle->stamp) & static_cast<int>(handle->changes);
}

struct cs_handle* cs_handle_copy(struct cs_handle* handle) {
  if (handle != nullptr) handle->references.fetch_add(1, std::memory_order_relaxed);
  return handle;
}

void cs_handle_release(struct cs_handle* handle) {
  if (handle == nullptr || handle->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (handle->release != nullptr)
    handle->release(handle->value, cs_handle_stale(handle), handle->argument);
  std::free(handle);
}

void cs_cell_clear(struct cs_cell* cell) {
  if (cell == nullptr) return;
  Cell& own = cell_of(cell);
  cs_handle* before = nullptr;
  {
    const ForkGuard guard(own.lock);
    before = own.current;
    own.current = nullptr;
  }
  cs_handle_release(before);
}
