// What the tests of identifiers share beside the library's laboratory: a clock that stands where
// the test puts it, and a lessor outside of all clones.
#ifndef CLONESAFE_TESTS_UNIT_IDS_IDS_LABORATORY_H_
#define CLONESAFE_TESTS_UNIT_IDS_IDS_LABORATORY_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "clonesafe/ids.hpp"
#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {

inline constexpr std::int64_t kHourNs = 3'600'000'000'000;
inline constexpr std::int64_t kSomeTimeNs = 1'790'000'000'123'456'700;

// The clock of all that make identifiers. `step_ns` is added at each look at it.
void set_clock(std::int64_t ns, std::int64_t step_ns = 0);
std::int64_t clock_ns();

class IdsLaboratory : public Laboratory {
 protected:
  IdsLaboratory();
};

Publication restored_clone(int clone);

// All that is 16 bytes.
enum class Kind { kRandom, kPrivate, kUuid1, kUuid4, kUuid6, kUuid7, kUlid };
inline constexpr Kind kKinds[] = {Kind::kRandom, Kind::kPrivate, Kind::kUuid1, Kind::kUuid4,
                                  Kind::kUuid6,  Kind::kUuid7,   Kind::kUlid};
int make_code(Kind kind, Value& value);
Value make(Kind kind);

// As a value among others.
Value value_of(std::uint64_t snowflake);

// Lives in memory that clones and children share, as a coordinator on another machine would.
struct Coordinator {
  std::atomic<std::uint64_t> asked = 0;
  std::atomic<std::uint64_t> released = 0;
  std::atomic<std::uint64_t> lost = 0;
  std::atomic<std::uint64_t> last_ms = 0;
  std::atomic<int> refusals = 0;  // so many questions are answered with `refusal`
  std::atomic<int> refusal = CS_E_NO_LEASE;
  std::atomic<std::uint64_t> duration_ms = 0;
  std::atomic<std::uint64_t> used_until_ms = 1;  // long ago
  std::atomic<std::uint64_t> next_worker = 0;
};

struct UnmapCoordinator {
  void operator()(Coordinator* coordinator) const;
};
using SharedCoordinator = std::unique_ptr<Coordinator, UnmapCoordinator>;
SharedCoordinator make_coordinator();
cs_lessor lessor_of(Coordinator& coordinator);

struct FreeSnowflake {
  void operator()(cs_snowflake* snowflake) const { cs_snowflake_free(snowflake); }
};
using SnowflakePointer = std::unique_ptr<cs_snowflake, FreeSnowflake>;
SnowflakePointer make_snowflake(const cs_lessor& lessor,
                                const cs_snowflake_config* config = nullptr);
// The worker id under which the next one is made, or a code.
std::int64_t next_worker(const SnowflakePointer& snowflake, const cs_snowflake_config& config);

}  // namespace clonesafe::laboratory

#endif  // CLONESAFE_TESTS_UNIT_IDS_IDS_LABORATORY_H_
