// Probe of libclonesafe's own sources, see README.md.
// usage: probe_library SOURCE[,SOURCE]... LOGFILE...
//   SOURCE  random, private, uuid1, uuid4, uuid6, uuid7, ulid or snowflake
#include <sys/socket.h>

// After sys/socket.h.
#include <linux/vm_sockets.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "clonesafe/clonesafe.h"
#include "clonesafe/ids.h"
#include "libclonesafe/base/unique_fd.h"
#include "tests/audit/probes/probe.h"

namespace {

using namespace clonesafe;
using namespace clonesafe::audit;

constexpr std::size_t kSize = 16;
// Where the audit gives worker ids, each once over all machines (tests/audit/run/worker_ids.h).
constexpr unsigned kWorkerIdPort = 5003;
constexpr timeval kAnswerWithin = {.tv_sec = 2, .tv_usec = 0};

// Asks the host, who knows all machines. A clone's connections end with its restore, and it asks
// anew.
int ask_host(void*, std::uint64_t workers, cs_lease* lease) {
  const UniqueFd fd(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_vm host{};
  host.svm_family = AF_VSOCK;
  host.svm_cid = VMADDR_CID_HOST;
  host.svm_port = kWorkerIdPort;
  if (!fd ||
      ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerWithin, sizeof kAnswerWithin) != 0 ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&host), sizeof host) != 0) {
    return CS_E_NO_LEASE;
  }
  std::array<char, 32> line{};
  std::size_t size = 0;
  while (size < line.size() && (size == 0 || line[size - 1] != '\n')) {
    const ssize_t count = ::recv(fd.get(), line.data() + size, line.size() - size, 0);
    if (count <= 0) return CS_E_NO_LEASE;
    size += static_cast<std::size_t>(count);
  }
  const auto [end, error] = std::from_chars(line.data(), line.data() + size, lease->worker);
  if (error != std::errc{} || *end != '\n' || lease->worker >= workers) return CS_E_NO_LEASE;
  lease->used_until_ms = 1;  // by nobody before
  return 0;
}

// One for all threads.
cs_snowflake* make_source() {
  cs_lessor lessor{};
  lessor.acquire = ask_host;
  cs_snowflake* source = nullptr;
  if (const int result = cs_snowflake_new(nullptr, &lessor, &source); result != 0) {
    std::fprintf(stderr, "probe_library: %s\n", cs_strerror(result));
    std::_Exit(1);
  }
  return source;
}

int snowflake(unsigned char* value) {
  static cs_snowflake* source = make_source();
  std::uint64_t id = 0;
  const int result = cs_snowflake_next(source, 1000, &id);
  // So that it is equal to nothing that another source made.
  std::memcpy(value, "cs_snowflake", sizeof "cs_snowflake");
  std::memcpy(value + kSize, &id, sizeof id);
  return result;
}

struct Source {
  std::string_view name;
  int (*draw)(unsigned char* value);
  std::size_t size = kSize;
};
constexpr Source kSources[] = {
    {"random", [](unsigned char* value) { return cs_random(value, kSize); }},
    {"private", [](unsigned char* value) { return cs_random_private(value, kSize); }},
    {"uuid1", [](unsigned char* value) { return cs_uuid1(value); }},
    {"uuid4", [](unsigned char* value) { return cs_uuid4(value); }},
    {"uuid6", [](unsigned char* value) { return cs_uuid6(value); }},
    {"uuid7", [](unsigned char* value) { return cs_uuid7(value); }},
    {"ulid", [](unsigned char* value) { return cs_ulid(value); }},
    {"snowflake", snowflake, kSize + sizeof(std::uint64_t)},
};

ProbeTier current_tier() {
  cs_status_report report;
  if (cs_status(&report, sizeof(report)) != 0) return ProbeTier::unset;
  return static_cast<ProbeTier>(report.tier + 1);
}

// The library refuses, rather than repeat a sibling's value, while nothing separates the clones or
// nobody gave a lease. That is a wait and not an end: the probe asks again.
std::size_t draw_until_unique(const Source& source, std::span<std::byte> value) {
  for (;;) {
    const int result = source.draw(reinterpret_cast<unsigned char*>(value.data()));
    if (result == 0) return source.size;
    if (result != CS_E_NOT_UNIQUE && result != CS_E_UNSTABLE && result != CS_E_NO_LEASE &&
        result != CS_E_CLOCK) {
      std::fprintf(stderr, "probe_library: %s\n", cs_strerror(result));
      return 0;
    }
    sched_yield();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: probe_library SOURCE[,SOURCE]... LOGFILE...\n");
    return 1;
  }
  return run_probe(argv[1], std::span(argv, static_cast<std::size_t>(argc)).subspan(2),
                   [](std::string_view name, ProbeLog log) -> Draw {
                     for (const Source& source : kSources) {
                       if (name != source.name) continue;
                       // The tier can change while the probe runs: the page appears, or is
                       // registered with the VMM.
                       return [source, log, i = 0U](std::span<std::byte> value) mutable {
                         if (i++ % 64 == 0) log.set_tier(current_tier());
                         return draw_until_unique(source, value);
                       };
                     }
                     return nullptr;
                   });
}
