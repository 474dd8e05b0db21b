// Every public function, called as a program calls it, with a verdict on what came back. Needs
// nothing of the C++ library's own start, so it runs before main too.
#ifndef CLONESAFE_TESTS_UNIT_LIBRARY_EVERY_CALL_H_
#define CLONESAFE_TESTS_UNIT_LIBRARY_EVERY_CALL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>

#include "clonesafe/clonesafe.h"
#include "clonesafe/hooks.h"
#include "clonesafe/ids.h"
#include "clonesafe/values.h"

namespace clonesafe::every_call {

struct Output {
  int code = 1;  // no call returns it but those of hooks
  std::size_t size = 0;
  unsigned char bytes[64] = {};
};

struct Call {
  const char* name;
  void (*make)(Output&);
};

// Where Snowflakes take their leases; nullptr: they are left out.
inline const char* lessor_folder = nullptr;

template <int (*kFunction)(unsigned char*), std::size_t kSize>
void fill(Output& output) {
  output.size = kSize;
  std::memset(output.bytes, 0xee, kSize);
  output.code = kFunction(output.bytes);
}

template <int (*kFunction)(void*, std::size_t)>
void fill_long(Output& output) {
  // As long as several blocks, on the stack: there may be no other memory.
  unsigned char bytes[5000];
  std::memset(bytes, 0xee, sizeof(bytes));
  output.code = kFunction(bytes, sizeof(bytes));
  output.size = 32;
  std::memcpy(output.bytes, bytes, 16);
  std::memcpy(output.bytes + 16, bytes + sizeof(bytes) - 16, 16);
}

template <int (*kFunction)(void*, std::size_t)>
int fill_16(unsigned char* bytes) {
  return kFunction(bytes, 16);
}

inline int uuid4_text(unsigned char* bytes) {
  char text[37];
  std::memset(text, 'x', sizeof(text));
  const int result = cs_uuid4_text(text);
  // An empty text stands for the zeros of a failure.
  if (text[0] == '\0') std::memset(text, 0, sizeof(text));
  std::memcpy(bytes, text, 36);
  return result;
}

inline int tagged(unsigned char* bytes) {
  cs_tagged made;
  int result = cs_tagged_random(&made, 16);
  if (result != 0) {
    std::memcpy(bytes, made.bytes, 16);
    return result;
  }
  return cs_tagged_use(&made, bytes, 16);
}

inline int fencing_epoch(unsigned char* bytes) {
  std::uint64_t epoch = 7;
  const int result = cs_fencing_epoch(0, &epoch);
  std::memcpy(bytes, &epoch, sizeof(epoch));
  return result;
}

inline int snowflake(unsigned char* bytes) {
  std::memset(bytes, 0, 8);
  if (lessor_folder == nullptr) {
    bytes[0] = 1;
    return 0;
  }
  cs_lessor lessor;
  if (const int result = cs_file_lessor(lessor_folder, 0, &lessor); result != 0) return result;
  cs_snowflake* source = nullptr;
  if (const int result = cs_snowflake_new(nullptr, &lessor, &source); result != 0) {
    lessor.destroy(lessor.context);
    return result;
  }
  std::uint64_t id = 7;
  const int result = cs_snowflake_next(source, 100, &id);
  std::memcpy(bytes, &id, sizeof(id));
  // Kept: its lease is this process's, so that a sibling can't have the same one after it.
  return result;
}

inline int secret(unsigned char* bytes) {
  void* memory = bytes;
  const int result = cs_secret_alloc(16, CS_SECRET_ALLOW_UNCOVERED, &memory);
  std::memset(bytes, 0, 16);
  if (result != 0) return memory == nullptr ? result : 1;
  const bool zeros = std::all_of(static_cast<unsigned char*>(memory),
                                 static_cast<unsigned char*>(memory) + CS_SECRET_MAX,
                                 [](unsigned char byte) { return byte == 0; });
  const int covered = cs_secret_covered(memory);
  cs_secret_free(memory);
  return zeros && covered >= 0 ? 0 : 1;
}

inline int cell(unsigned char*) {
  static cs_cell built;
  cs_handle* handle = nullptr;
  static int value;
  const auto build = [](void*, void** made) {
    *made = &value;
    return 0;
  };
  const int result = cs_once_per_generation(&built, build, nullptr, &handle);
  if (result != 0) return handle == nullptr ? result : 1;
  const bool good = cs_handle_value(handle) == &value;
  cs_handle_release(handle);
  cs_cell_clear(&built);
  return good ? 0 : 1;
}

inline int generation(unsigned char*) {
  cs_stamp stamp;
  if (const int result = cs_begin(&stamp); result != 0) return result;
  return cs_commit(&stamp);
}

inline int status(unsigned char*) {
  cs_status_report report;
  return cs_status(&report, sizeof(report));
}

// What is fine for these: an outcome of a hook's, or the count of what there is.
inline int not_positive(int result) {
  return result < 0 ? result : 0;
}

inline int hooks(unsigned char*) {
  const cs_hook_options options = {.function = [](const cs_event*, void*) { return CS_HOOK_OK; },
                                   .argument = nullptr,
                                   .name = nullptr,
                                   .priority = CS_PRIORITY_USER,
                                   .deadline_ms = 0,
                                   .release = nullptr,
                                   .reserved = {}};
  cs_hook* before = nullptr;
  cs_hook* after = nullptr;
  int result = cs_before_snapshot_hook(&options, &before);
  if (result == 0) result = cs_after_restore_hook(&options, &after);
  if (result == 0) result = not_positive(cs_before_snapshot());
  if (result == 0) result = not_positive(cs_after_restore());
  if (result == 0) result = not_positive(cs_poll());
  if (result == 0) result = not_positive(cs_hooks_report(nullptr, sizeof(cs_hook_report), 0));
  cs_hook_remove(after);
  cs_hook_remove(before);
  return result;
}

inline int watch(unsigned char*) {
  const cs_watch_options options = {
      .interval_ms = 0, .deadline_ms = 0, .without_agent = 1, .reserved32 = 0, .reserved = {}};
  if (const int result = cs_watch_start(&options); result != 0) return result;
  return cs_watch_stop();
}

inline int initialize(unsigned char*) {
  return cs_init();
}

// What gives out values that nobody else may have. Alone in needing no more than memory, the clock
// and random bytes.
inline constexpr Call kDraws[] = {
    {"cs_random", fill<fill_16<cs_random>, 16>},
    {"cs_random, long", fill_long<cs_random>},
    {"cs_random_private", fill<fill_16<cs_random_private>, 16>},
    {"cs_random_fresh", fill<fill_16<cs_random_fresh>, 16>},
    {"cs_uuid4", fill<cs_uuid4, 16>},
    {"cs_uuid4_text", fill<uuid4_text, 36>},
    {"cs_uuid1", fill<cs_uuid1, 16>},
    {"cs_uuid6", fill<cs_uuid6, 16>},
    {"cs_uuid7", fill<cs_uuid7, 16>},
    {"cs_ulid", fill<cs_ulid, 16>},
    {"cs_tagged_random", fill<tagged, 16>},
    {"cs_instance_id", fill<cs_instance_id, 16>},
    {"cs_fencing_epoch", fill<fencing_epoch, 8>},
};
inline constexpr Call kOthers[] = {
    {"cs_init", fill<initialize, 0>},
    {"cs_generation", fill<generation, 0>},
    {"cs_status", fill<status, 0>},
    {"cs_once_per_generation", fill<cell, 0>},
    {"cs_secret_alloc", fill<secret, 0>},
    {"cs_snowflake_next", fill<snowflake, 8>},
    {"hooks", fill<hooks, 0>},
    {"cs_watch_start", fill<watch, 0>},
};

// nullptr, or what is wrong with one answer seen for itself.
inline const char* fault_of(const Output& output) {
  const auto zero = [](unsigned char byte) { return byte == 0; };
  const bool zeros = std::all_of(output.bytes, output.bytes + output.size, zero);
  if (output.code > 0) return "not a code";
  if (output.code == 0)
    return zeros && output.size != 0 ? "zeros with the code of success" : nullptr;
  if (std::strcmp(cs_strerror(output.code), "unknown error") == 0) return "an unknown code";
  return zeros ? nullptr : "bytes with the code of a failure";
}

}  // namespace clonesafe::every_call

#endif  // CLONESAFE_TESTS_UNIT_LIBRARY_EVERY_CALL_H_
