#include "tests/lab/nested/state_beats.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <ctime>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::lab {

void found_wrong(Beats& beats, const char* what, std::uint64_t expected, std::uint64_t found) {
  if (beats.errors.fetch_add(1) == 0)
    std::snprintf(beats.first_error, sizeof beats.first_error,
                  "%s: expected %" PRIx64 ", found %" PRIx64, what, expected, found);
}

std::uint64_t checked_now(Beats& beats) {
  // Read before the clock: what another processor saw until then can't be later.
  std::uint64_t last = beats.last_ns.load();
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  const auto now = static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
                   static_cast<std::uint64_t>(time.tv_nsec);
  if (now < last) found_wrong(beats, "CLOCK_MONOTONIC", last, now);
  while (now > last && !beats.last_ns.compare_exchange_weak(last, now)) {
  }
  return now;
}

void* shared_file(const char* path, std::size_t size) {
  const UniqueFd fd(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  void* memory = MAP_FAILED;
  if (fd && ftruncate(fd.get(), static_cast<off_t>(size)) == 0)
    memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory != MAP_FAILED) return memory;
  std::perror(path);
  return nullptr;
}

void report_counts(const char* name, const std::atomic<std::uint64_t>* counts, int size) {
  for (int i = 0; i < size; ++i)
    if (counts[i] != 0) std::printf("%s.%d %" PRIu64 "\n", name, i, counts[i].load());
}

void report_errors(const Beats& beats) {
  std::printf("errors %" PRIu64 "\n", beats.errors.load());
  if (beats.errors != 0) std::printf("first %s\n", beats.first_error);
}

void stay_on(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace clonesafe::lab
