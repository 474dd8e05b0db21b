// Probe of what C and C++ programs draw from without clonesafe, see README.md.
// usage: probe_cxx SOURCE[,SOURCE]... LOGFILE...
//   SOURCE  boost_uuid, mt19937, libuuid, openssl_rand, getrandom, proc_uuid or snowflake
#include <openssl/rand.h>
#include <sys/random.h>
#include <uuid/uuid.h>

#include <atomic>
#include <boost/uuid/random_generator.hpp>
#include <boost/uuid/uuid.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string_view>

#include "tests/audit/probes/probe.h"

namespace {

using namespace clonesafe::audit;

constexpr std::size_t kSize = 16;

// The kernel makes a UUID for each read. Its text is longer than a record's value, so it is kept as
// bytes.
std::size_t read_proc_uuid(std::span<std::byte> value) {
  const int fd = ::open("/proc/sys/kernel/random/uuid", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[37] = {};
  const ssize_t got = ::read(fd, text, 36);
  ::close(fd);
  uuid_t uuid;
  if (got != 36 || ::uuid_parse(text, uuid) != 0) return 0;
  std::memcpy(value.data(), uuid, kSize);
  return kSize;
}

std::size_t libuuid(std::span<std::byte> value) {
  uuid_t uuid;
  ::uuid_generate_random(uuid);
  std::memcpy(value.data(), uuid, kSize);
  return kSize;
}

std::size_t openssl_rand(std::span<std::byte> value) {
  const int good = ::RAND_bytes(reinterpret_cast<unsigned char*>(value.data()), kSize);
  return good == 1 ? kSize : 0;
}

std::size_t kernel_random(std::span<std::byte> value) {
  return ::getrandom(value.data(), kSize, 0) == ssize_t{kSize} ? kSize : 0;
}

// As programs make them that read their worker id once, from their configuration: milliseconds,
// worker 1, and a sequence for all threads.
std::size_t snowflake(std::span<std::byte> value) {
  using namespace std::chrono;
  static std::atomic<std::uint64_t> last = 0;
  const auto now = static_cast<std::uint64_t>(
      duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count());
  std::uint64_t before = last;
  std::uint64_t next = 0;
  do {
    next = std::max(before + 1, now << 12);
  } while (!last.compare_exchange_weak(before, next));
  const std::uint64_t id = next >> 12 << 22 | 1U << 12 | (next & 0xfff);
  // So that it is equal to nothing that another source made.
  std::memcpy(value.data(), "cxx_snowflake", sizeof "cxx_snowflake");
  std::memcpy(value.data() + kSize, &id, sizeof id);
  return kSize + sizeof id;
}

// Those with a state have one in each thread.
Draw make_draw(std::string_view source, ProbeLog) {
  if (source == "boost_uuid") {
    const auto generator = std::make_shared<boost::uuids::random_generator>();
    return [generator](std::span<std::byte> value) {
      const boost::uuids::uuid uuid = (*generator)();
      std::memcpy(value.data(), uuid.data, kSize);
      return kSize;
    };
  }
  if (source == "mt19937") {
    // Seeded as books recommend it; seeded once.
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return [generator = std::mt19937(seed)](std::span<std::byte> value) mutable {
      for (std::size_t i = 0; i < kSize; i += 4) {
        const auto word = static_cast<std::uint32_t>(generator());
        std::memcpy(value.data() + i, &word, sizeof(word));
      }
      return kSize;
    };
  }
  if (source == "libuuid") return libuuid;
  if (source == "openssl_rand") return openssl_rand;
  if (source == "getrandom") return kernel_random;
  if (source == "proc_uuid") return read_proc_uuid;
  if (source == "snowflake") return snowflake;
  return nullptr;
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): terminate() names what was thrown
int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: probe_cxx SOURCE[,SOURCE]... LOGFILE...\n");
    return 1;
  }
  return run_probe(argv[1], std::span(argv, static_cast<std::size_t>(argc)).subspan(2), make_draw);
}
