// In the lab's guest: keeps all in motion that a snapshot has to carry (registers, timers,
// interrupts between processors, debug registers, the clock, the serial line) and looks whether it
// stays right.
// usage: guest_state run PROCESSORS    for ever
//        guest_state stream            numbers on standard output, from 1 on, for ever
//        guest_state report            counts and the first error, a line each
#include <fcntl.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/lab/nested/state_beats.h"

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

namespace {

constexpr const char* kFile = "/run/guest_state";

void stay_on(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  sched_setaffinity(0, sizeof set, &set);
}

void keep_registers(Beats& beats, int processor) {
  stay_on(processor);
  constexpr std::uint64_t kTurns = 3'000'000;
  for (std::uint64_t i = 1;; ++i) {
    hold_registers(beats, i * kMaxProcessors + static_cast<std::uint64_t>(processor), kTurns);
    checked_now(beats);
    beats.registers[processor].fetch_add(1);
  }
}

// A timer for each beat, so that a lost one stops it.
void keep_timer(Beats& beats, int processor) {
  stay_on(processor);
  const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  constexpr std::uint64_t kPeriod = 7'000'000;
  for (;;) {
    const std::uint64_t start = checked_now(beats);
    itimerspec in{};
    in.it_value.tv_nsec = static_cast<long>(kPeriod);
    std::uint64_t fired = 0;
    if (timerfd_settime(timer, 0, &in, nullptr) != 0 ||
        read(timer, &fired, sizeof fired) != sizeof fired)
      return found_wrong(beats, "timerfd", 1, fired);
    const std::uint64_t end = checked_now(beats);
    if (end - start < kPeriod) found_wrong(beats, "a timer that came early", kPeriod, end - start);
    beats.timers[processor].fetch_add(1);
  }
}

// A token goes round; each hand-over wakes a thread on another processor.
void pass_on(Beats& beats, int processor, int from, int to) {
  stay_on(processor);
  for (;;) {
    std::uint64_t token = 0;
    if (read(from, &token, sizeof token) != sizeof token || token != 1)
      return found_wrong(beats, "token", 1, token);
    beats.wakes[processor].fetch_add(1);
    if (write(to, &token, sizeof token) != sizeof token) return;
  }
}

// Interrupts every processor that runs a thread of this process, and waits for all.
void keep_barriers(Beats& beats) {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0)
    return found_wrong(beats, "membarrier", 0, 1);
  for (;;) {
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0)
      return found_wrong(beats, "membarrier", 0, 2);
    beats.barriers.fetch_add(1);
    poll(nullptr, 0, 3);
  }
}

// Numbered lines: whoever reads the other end sees whether one is missing.
void keep_serial(Beats& beats) {
  const int line = open("/dev/ttyS0", O_WRONLY | O_NOCTTY | O_CLOEXEC);
  for (;;) {
    char text[32];
    const int size =
        std::snprintf(text, sizeof text, "serial %" PRIu64 "\n", beats.serial.load() + 1);
    if (write(line, text, static_cast<std::size_t>(size)) != size)
      return found_wrong(beats, "write to the serial line", 1, 0);
    beats.serial.fetch_add(1);
    poll(nullptr, 0, 20);
  }
}

int stream() {
  for (std::uint64_t number = 1; std::printf("%" PRIu64 "\n", number) > 0; ++number) {
    if (number % 64 != 0) continue;
    if (std::fflush(stdout) != 0) break;
    poll(nullptr, 0, 2);
  }
  return 1;
}

int run(Beats& beats, int processors) {
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    watch_by_debug_registers(beats);
    _exit(0);
  }
  std::vector<int> tokens;
  for (int i = 0; i < processors; ++i) tokens.push_back(eventfd(i == 0 ? 1 : 0, EFD_CLOEXEC));
  std::vector<std::thread> threads;
  for (int i = 0; i < processors; ++i) {
    const int next = tokens[static_cast<std::size_t>((i + 1) % processors)];
    threads.emplace_back([&beats, i] { keep_registers(beats, i); });
    threads.emplace_back([&beats, i] { keep_timer(beats, i); });
    threads.emplace_back([&beats, i, from = tokens[static_cast<std::size_t>(i)], next] {
      pass_on(beats, i, from, next);
    });
  }
  threads.emplace_back([&beats] { keep_barriers(beats); });
  threads.emplace_back([&beats] { keep_serial(beats); });
  for (std::thread& thread : threads) thread.join();
  return 0;
}

int report(const Beats& beats) {
  const auto each = [](const char* name, const std::atomic<std::uint64_t>* counts) {
    for (int i = 0; i < kMaxProcessors; ++i)
      if (counts[i] != 0) std::printf("%s.%d %" PRIu64 "\n", name, i, counts[i].load());
  };
  each("registers", beats.registers);
  each("timers", beats.timers);
  each("wakes", beats.wakes);
  std::printf("barriers %" PRIu64 "\ntraps %" PRIu64 "\nserial %" PRIu64 "\n",
              beats.barriers.load(), beats.traps.load(), beats.serial.load());
  std::printf("errors %" PRIu64 "\n", beats.errors.load());
  if (beats.errors != 0) std::printf("first %s\n", beats.first_error);
  return 0;
}

}  // namespace
}  // namespace clonesafe::lab

int main(int argc, char** argv) {
  using namespace clonesafe::lab;
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "stream") return stream();
  const int fd = open(kFile, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(Beats)) != 0) {
    std::perror(kFile);
    return 1;
  }
  void* memory = mmap(nullptr, sizeof(Beats), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    return 1;
  }
  Beats& beats = *static_cast<Beats*>(memory);
  if (verb == "report") return report(beats);
  const int processors = verb == "run" && argc > 2 ? std::atoi(argv[2]) : 0;
  if (processors < 1 || processors > kMaxProcessors) {
    std::fprintf(stderr, "usage: guest_state run PROCESSORS | stream | report\n");
    return 2;
  }
  return run(beats, processors);
}
