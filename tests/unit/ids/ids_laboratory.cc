#include "tests/unit/ids/ids_laboratory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace clonesafe::laboratory {
namespace {

std::atomic<std::int64_t> clock_now = kSomeTimeNs;
std::atomic<std::int64_t> clock_step = 0;

std::int64_t read_clock() {
  return clock_now.fetch_add(clock_step);
}

}  // namespace

void set_clock(std::int64_t ns, std::int64_t step_ns) {
  clock_now = ns;
  clock_step = step_ns;
}

std::int64_t clock_ns() {
  return clock_now;
}

IdsLaboratory::IdsLaboratory() {
  set_clock(kSomeTimeNs);
  core::seams_for_testing.realtime_ns = read_clock;
  publish({});
  restart();
}

Publication restored_clone(int clone) {
  return {.generation = static_cast<std::uint64_t>(1000 + clone),
          .reseed_epoch = static_cast<std::uint64_t>(1000 + clone),
          .diversifier = static_cast<std::uint8_t>(clone),
          .state = CLONESAFE_STATE_REPAIRING};
}

int make_code(Kind kind, Value& value) {
  switch (kind) {
    case Kind::kRandom:
      return cs_random(value.data(), value.size());
    case Kind::kPrivate:
      return cs_random_private(value.data(), value.size());
    case Kind::kUuid1:
      return cs_uuid1(value.data());
    case Kind::kUuid4:
      return cs_uuid4(value.data());
    case Kind::kUuid6:
      return cs_uuid6(value.data());
    case Kind::kUuid7:
      return cs_uuid7(value.data());
    case Kind::kUlid:
      return cs_ulid(value.data());
  }
  return CS_E_INVALID;
}

Value make(Kind kind) {
  Value value = {};
  const int result = make_code(kind, value);
  EXPECT_EQ(result, 0) << cs_strerror(result);
  return value;
}

Value value_of(std::uint64_t snowflake) {
  Value value = {};
  std::memcpy(value.data(), &snowflake, sizeof(snowflake));
  return value;
}

void UnmapCoordinator::operator()(Coordinator* coordinator) const {
  ::munmap(coordinator, sizeof(*coordinator));
}

SharedCoordinator make_coordinator() {
  void* memory = ::mmap(nullptr, sizeof(Coordinator), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return SharedCoordinator(new (memory) Coordinator);
}

cs_lessor lessor_of(Coordinator& coordinator) {
  cs_lessor lessor = {};
  lessor.context = &coordinator;
  lessor.acquire = [](void* context, std::uint64_t workers, cs_lease* lease) {
    auto& self = *static_cast<Coordinator*>(context);
    ++self.asked;
    if (self.refusals > 0) {
      --self.refusals;
      return self.refusal.load();
    }
    lease->worker = self.next_worker++ % workers;
    lease->duration_ms = self.duration_ms;
    lease->used_until_ms = self.used_until_ms;
    return 0;
  };
  lessor.release = [](void* context, const cs_lease*, int lost, std::uint64_t last_ms) {
    auto& self = *static_cast<Coordinator*>(context);
    ++(lost != 0 ? self.lost : self.released);
    self.last_ms = last_ms;
  };
  return lessor;
}

SnowflakePointer make_snowflake(const cs_lessor& lessor, const cs_snowflake_config* config) {
  cs_snowflake* snowflake = nullptr;
  EXPECT_EQ(cs_snowflake_new(config, &lessor, &snowflake), 0);
  return SnowflakePointer(snowflake);
}

std::int64_t next_worker(const SnowflakePointer& snowflake, const cs_snowflake_config& config) {
  std::uint64_t id = 0;
  if (const int result = cs_snowflake_try(snowflake.get(), &id); result != 0) return result;
  cs_snowflake_parts parts = {};
  EXPECT_EQ(cs_snowflake_split(&config, id, &parts), 0);
  return static_cast<std::int64_t>(parts.worker);
}

}  // namespace clonesafe::laboratory
