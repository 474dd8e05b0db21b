// In the lab's guest: keeps all in motion that a snapshot has to carry (registers, timers,
// interrupts between processors, debug registers, the clock, the serial line) and looks whether it
// stays right.
// usage: guest_state run PROCESSORS    for ever
//        guest_state stream            numbers on standard output, from 1 on, for ever
//        guest_state report            counts and the first error, a line each
#include <fcntl.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/lab/nested/state_beats.h"

namespace clonesafe::lab {

namespace {

constexpr const char* kFile = "/run/guest_state";

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
  report_counts("registers", beats.registers, kMaxProcessors);
  report_counts("timers", beats.timers, kMaxProcessors);
  report_counts("wakes", beats.wakes, kMaxProcessors);
  std::printf("barriers %" PRIu64 "\ntraps %" PRIu64 "\nserial %" PRIu64 "\n",
              beats.barriers.load(), beats.traps.load(), beats.serial.load());
  report_errors(beats);
  return 0;
}

}  // namespace
}  // namespace clonesafe::lab

int main(int argc, char** argv) {
  using namespace clonesafe::lab;
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "stream") return stream();
  void* memory = shared_file(kFile, sizeof(Beats));
  if (memory == nullptr) return 1;
  Beats& beats = *static_cast<Beats*>(memory);
  if (verb == "report") return report(beats);
  const int processors = verb == "run" && argc > 2 ? std::atoi(argv[2]) : 0;
  if (processors < 1 || processors > kMaxProcessors) {
    std::fprintf(stderr, "usage: guest_state run PROCESSORS | stream | report\n");
    return 2;
  }
  return run(beats, processors);
}
