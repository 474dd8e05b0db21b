// usage: guest_motion run PROCESSORS DISK HOST   for ever
//        guest_motion settle                     the disk's writers check all they wrote, and stop
//        guest_motion report                     counts and the first error, a line each
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/lab/nested/motion.h"

namespace clonesafe::lab {
namespace {

constexpr std::uint64_t kPeriod = 40'000'000;

// A periodic timer: as many expirations as there were periods, at any moment; none is lost and none
// comes early, whatever time passed and however late it is served.
void keep_periodic_timer(Beats& beats, int processor) {
  stay_on(processor);
  const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  const std::uint64_t first = checked_now(beats) + kPeriod;
  itimerspec spec{};
  spec.it_value.tv_sec = static_cast<time_t>(first / 1'000'000'000);
  spec.it_value.tv_nsec = static_cast<long>(first % 1'000'000'000);
  spec.it_interval.tv_nsec = static_cast<long>(kPeriod);
  if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, nullptr) != 0)
    return found_wrong(beats, "timerfd_settime", 0, 1);
  const auto periods = [&](std::uint64_t now) {
    return now < first ? 0 : (now - first) / kPeriod + 1;
  };
  for (std::uint64_t all = 0;;) {
    const std::uint64_t least = periods(checked_now(beats));
    std::uint64_t fired = 0;
    if (read(timer, &fired, sizeof fired) != sizeof fired)
      return found_wrong(beats, "read of a timer", sizeof fired, fired);
    all += fired;
    const std::uint64_t most = periods(checked_now(beats));
    if (all < least) found_wrong(beats, "a periodic timer lost some", least, all);
    if (all > most) found_wrong(beats, "a periodic timer came too often", most, all);
    beats.timers[processor] = all;
  }
}

int run(Motion& motion, int processors, const char* disk, const char* host) {
  std::vector<std::thread> threads;
  for (int i = 0; i < processors; ++i)
    threads.emplace_back([&motion, i] { keep_periodic_timer(motion.beats, i); });
  for (int i = 0; i < kDiskWriters; ++i)
    threads.emplace_back([&motion, disk, i] { keep_disk(motion, disk, i); });
  for (int i = 0; i < kStreams; ++i) threads.emplace_back([&motion, i] { keep_stream(motion, i); });
  threads.emplace_back([&motion] { keep_idle(motion); });
  threads.emplace_back([&motion] { keep_exchanges(motion); });
  threads.emplace_back([&motion, host] { keep_datagrams(motion, host); });
  for (std::thread& thread : threads) thread.join();
  return 0;
}

int settle(Motion& motion) {
  motion.settle = true;
  while (motion.settled_writers != kDiskWriters) poll(nullptr, 0, 10);
  return motion.beats.errors == 0 ? 0 : 1;
}

// What the kernel counts of a disk (Documentation/block/stat.rst): its words 1, 5, 12 and 16.
void report_disk(const char* name) {
  const std::string path = std::string("/sys/block/") + name + "/stat";
  std::uint64_t words[17] = {};
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "r"),
                                                             &std::fclose);
  for (std::uint64_t& word : words)
    if (!file || std::fscanf(file.get(), "%" SCNu64, &word) != 1) return;
  std::printf("%s.reads %" PRIu64 "\n%s.changes %" PRIu64 "\n%s.flushes %" PRIu64 "\n", name,
              words[0], name, words[4] + words[11], name, words[15]);
}

int report(const Motion& motion) {
  report_disk("vdb");
  report_disk("vdc");
  timespec up{};
  clock_gettime(CLOCK_MONOTONIC, &up);
  std::printf("uptime_ms %" PRIu64 "\n", static_cast<std::uint64_t>(up.tv_sec) * 1000 +
                                             static_cast<std::uint64_t>(up.tv_nsec) / 1'000'000);
  report_counts("timers", motion.beats.timers, kMaxProcessors);
  report_counts("writes", motion.writes, kDiskWriters);
  report_counts("reads", motion.reads, kDiskWriters);
  report_counts("acknowledged", motion.acknowledged, kStreams);
  report_counts("connections", motion.connections, kStreams);
  const auto count = [](const char* name, const std::atomic<std::uint64_t>& number) {
    std::printf("%s %" PRIu64 "\n", name, number.load());
  };
  count("syncs", motion.syncs);
  count("idle_ends", motion.idle_ends);
  count("exchanges", motion.exchanges);
  count("broken_exchanges", motion.broken_exchanges);
  count("failed_connections", motion.failed_connections);
  count("late_connections", motion.late_connections);
  count("datagrams", motion.datagrams);
  report_errors(motion.beats);
  return 0;
}

}  // namespace
}  // namespace clonesafe::lab

int main(int argc, char** argv) {
  using namespace clonesafe::lab;
  const std::string_view verb = argc > 1 ? argv[1] : "";
  auto* motion = static_cast<Motion*>(shared_file("/run/guest_motion", sizeof(Motion)));
  if (motion == nullptr) return 1;
  if (verb == "report") return report(*motion);
  if (verb == "settle") return settle(*motion);
  const int processors = verb == "run" && argc == 5 ? std::atoi(argv[2]) : 0;
  if (processors < 1 || processors > kMaxProcessors) {
    std::fprintf(stderr, "usage: guest_motion run PROCESSORS DISK HOST | settle | report\n");
    return 2;
  }
  return run(*motion, processors, argv[3], argv[4]);
}
