// Probe of libclonesafe's own sources, see README.md. usage: probe_library random|uuid4 LOGFILE
#include <cstdio>
#include <cstring>

#include "clonesafe/clonesafe.h"
#include "tests/audit/probes/probe.h"

namespace {

using namespace clonesafe::audit;

ProbeTier current_tier() {
  cs_status_report report;
  if (cs_status(&report, sizeof(report)) != 0) return ProbeTier::unset;
  return static_cast<ProbeTier>(report.tier + 1);
}

// The library refuses a draw, rather than repeat a sibling's, while nothing separates the clones.
// That is a wait and not an end: the probe asks again.
template <class Draw>
std::size_t draw_until_unique(std::span<std::byte> value, Draw draw) {
  for (;;) {
    const int result = draw(reinterpret_cast<unsigned char*>(value.data()));
    if (result == 0) return 16;
    if (result != CS_E_NOT_UNIQUE && result != CS_E_UNSTABLE) {
      std::fprintf(stderr, "probe_library: %s\n", cs_strerror(result));
      return 0;
    }
    sched_yield();
  }
}

int run(const char* path, int (*draw)(unsigned char*)) {
  ProbeLogHeader* header = ProbeLog::map(path);
  if (header == nullptr) return 1;
  ProbeLog log(header);
  // The tier can change while the probe runs: the page appears, or is registered with the VMM.
  for (unsigned i = 0;; ++i) {
    if (i % 64 == 0) log.set_tier(current_tier());
    if (!log.emit([&](std::span<std::byte> value) { return draw_until_unique(value, draw); })) {
      std::fprintf(stderr, "probe: %s: a draw failed\n", header->name);
      return 1;
    }
    pace();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "random") == 0) {
    return run(argv[2], [](unsigned char* value) { return cs_random(value, 16); });
  }
  if (argc == 3 && std::strcmp(argv[1], "uuid4") == 0) {
    return run(argv[2], [](unsigned char* value) { return cs_uuid4(value); });
  }
  std::fprintf(stderr, "usage: probe_library random|uuid4 LOGFILE\n");
  return 1;
}
