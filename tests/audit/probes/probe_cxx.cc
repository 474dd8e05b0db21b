// Probe of what C and C++ programs draw from without clonesafe, see README.md.
// usage: probe_cxx boost_uuid|mt19937|libuuid|openssl_rand|getrandom|proc_uuid LOGFILE
#include <openssl/rand.h>
#include <sys/random.h>
#include <uuid/uuid.h>

#include <boost/uuid/random_generator.hpp>
#include <boost/uuid/uuid.hpp>
#include <cstdio>
#include <cstring>
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

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): terminate() names what was thrown
int main(int argc, char** argv) {
  const std::string_view source = argc == 3 ? argv[1] : "";
  if (source == "boost_uuid") {
    boost::uuids::random_generator generator;
    return run_probe(argv[2], [&](std::span<std::byte> value) {
      const boost::uuids::uuid uuid = generator();
      std::memcpy(value.data(), uuid.data, kSize);
      return kSize;
    });
  }
  if (source == "mt19937") {
    // Seeded as books recommend it; seeded once.
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    std::mt19937 generator(seed);
    return run_probe(argv[2], [&](std::span<std::byte> value) {
      for (std::size_t i = 0; i < kSize; i += 4) {
        const auto word = static_cast<std::uint32_t>(generator());
        std::memcpy(value.data() + i, &word, sizeof(word));
      }
      return kSize;
    });
  }
  if (source == "libuuid") {
    return run_probe(argv[2], [](std::span<std::byte> value) {
      uuid_t uuid;
      ::uuid_generate_random(uuid);
      std::memcpy(value.data(), uuid, kSize);
      return kSize;
    });
  }
  if (source == "openssl_rand") {
    return run_probe(argv[2], [](std::span<std::byte> value) {
      const int good = ::RAND_bytes(reinterpret_cast<unsigned char*>(value.data()), kSize);
      return good == 1 ? kSize : 0;
    });
  }
  if (source == "getrandom") {
    return run_probe(argv[2], [](std::span<std::byte> value) {
      return ::getrandom(value.data(), kSize, 0) == ssize_t{kSize} ? kSize : 0;
    });
  }
  if (source == "proc_uuid") return run_probe(argv[2], read_proc_uuid);
  std::fprintf(stderr,
               "usage: probe_cxx boost_uuid|mt19937|libuuid|openssl_rand|getrandom|proc_uuid "
               "LOGFILE\n");
  return 1;
}
