// What agent_bench measures inside the guest, by the guest's own clock, which stands still while
// the machine is a snapshot.
//
//   bench_guest_times fork-exec COUNT   the times of fork + exec of /bin/true + wait, one ns a line
//   bench_guest_times watch OUT         lives through a snapshot; in a clone OUT gets ns from the
//                                       first instruction to the reseed of the kernel's generator,
//                                       and to `safe`, and those of a fork + exec
//   bench_guest_times least OUT         the same with an agent that is dead: OUT gets the ns until
//                                       a thread that waits for nothing but the kernel's line about
//                                       the fork has had the generator reseeded, and those that the
//                                       clone's first cs_random of 16 bytes took
#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/page/generation_page_reader.h"

namespace {

using namespace clonesafe;

std::uint64_t now_ns() {
  timespec time = {};
  clock_gettime(CLOCK_BOOTTIME, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

// 0 if it failed.
std::uint64_t fork_exec() {
  const std::uint64_t start = now_ns();
  const pid_t child = fork();
  if (child < 0) return 0;
  if (child == 0) {
    execl("/bin/true", "true", static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) return 0;
  return now_ns() - start;
}

int fork_exec_often(long count) {
  for (long i = 0; i < count; ++i) {
    const std::uint64_t time = fork_exec();
    if (time == 0) return 1;
    std::printf("%llu\n", static_cast<unsigned long long>(time));
  }
  return 0;
}

// When the agent first published `generation` with another kernel_rng_epoch, and when `safe`; 0 if
// it did not yet. It writes to two slots in turn, so both are still there.
struct Published {
  std::uint64_t reseeded = 0;
  std::uint64_t safe = 0;
};

Published published(const clonesafe_generation_page& page, std::uint64_t generation,
                    std::uint64_t old_epoch) {
  Published times;
  for (int i = 0; i < 2; ++i) {
    clonesafe_generation_slot slot = {};
    copy_generation_slot(page.slots[i], slot);
    if (slot.generation != generation || slot.kernel_rng_epoch == old_epoch) continue;
    if (times.reseeded == 0 || slot.published_ns < times.reseeded) {
      times.reseeded = slot.published_ns;
    }
    if (slot.state == CLONESAFE_STATE_SAFE) times.safe = slot.published_ns;
  }
  return times;
}

// Returns in a clone, with the time of its snapshot. The VMM changes the page before the first
// instruction.
std::uint64_t last_instant_before(const GenerationPageReader& reader, std::uint64_t control) {
  std::uint64_t last = now_ns();
  for (;;) {
    const std::uint64_t now = now_ns();
    if (reader.control() != control) return last;
    last = now;
  }
}

bool write_times(const std::string& out, const std::string& times) {
  std::ofstream(out + ".new") << times;
  return std::rename((out + ".new").c_str(), out.c_str()) == 0;
}

int watch(const std::string& out) {
  const auto reader = GenerationPageReader::open(CLONESAFE_GENERATION_PAGE_PATH);
  if (!reader) {
    std::fprintf(stderr, "bench_guest_times: %s\n", reader.error().message().c_str());
    return 1;
  }
  const auto before = reader->read();
  if (!before) return 1;
  // Runs only while nothing else does: whoever is woken by the restore has the processor at once.
  const sched_param none = {};
  if (sched_setscheduler(0, SCHED_IDLE, &none) != 0) return 1;

  const std::uint64_t last = last_instant_before(*reader, before->control);
  const auto after = reader->read();
  if (!after || after->slot.generation == before->slot.generation) return 1;
  Published times;
  while ((times = published(reader->page(), after->slot.generation, before->slot.kernel_rng_epoch))
             .safe == 0) {
    usleep(1000);
  }
  // The report to the host, with which the fork would share the processor.
  usleep(500'000);
  const sched_param normal = {};
  if (sched_setscheduler(0, SCHED_OTHER, &normal) != 0) return 1;
  const std::uint64_t forked = fork_exec();
  return write_times(out, std::to_string(times.reseeded - last) + "\n" +
                              std::to_string(times.safe - last) + "\n" + std::to_string(forked) +
                              "\n")
             ? 0
             : 1;
}

// When the kernel's generator was reseeded by a thread that does nothing else; 0 if it couldn't be.
std::uint64_t reseed_at_the_kernels_line(int kmsg) {
  for (;;) {
    pollfd news = {.fd = kmsg, .events = POLLIN, .revents = 0};
    if (poll(&news, 1, -1) < 0) return 0;
    char line[2048];
    for (ssize_t size; (size = read(kmsg, line, sizeof line)) > 0;) {
      if (std::string_view(line, static_cast<std::size_t>(size)).find("virtual machine fork") ==
          std::string_view::npos)
        continue;
      const int urandom = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
      if (urandom < 0 || ioctl(urandom, RNDRESEEDCRNG) != 0) return 0;
      return now_ns();
    }
  }
}

int least(const std::string& out) {
  const auto reader = GenerationPageReader::open(CLONESAFE_GENERATION_PAGE_PATH);
  const int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (!reader || kmsg < 0 || lseek(kmsg, 0, SEEK_END) != 0) return 1;
  const auto before = reader->read();
  if (!before) return 1;
  std::atomic<std::uint64_t> reseeded = 0;
  std::jthread waits([&] { reseeded = reseed_at_the_kernels_line(kmsg); });
  const sched_param none = {};
  if (sched_setscheduler(0, SCHED_IDLE, &none) != 0) return 1;
  unsigned char value[16];
  if (cs_random(value, sizeof value) != 0) return 1;  // warm in the source
  const std::uint64_t last = last_instant_before(*reader, before->control);
  const std::uint64_t start = now_ns();
  const int drawn = cs_random(value, sizeof value);
  const std::uint64_t draw = now_ns() - start;
  waits.join();
  return drawn == 0 && reseeded != 0 &&
                 write_times(out,
                             std::to_string(reseeded - last) + "\n" + std::to_string(draw) + "\n")
             ? 0
             : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc == 3 ? argv[1] : "";
  if (verb == "fork-exec") return fork_exec_often(std::strtol(argv[2], nullptr, 10));
  if (verb == "watch") return watch(argv[2]);
  if (verb == "least") return least(argv[2]);
  std::fprintf(stderr, "usage: bench_guest_times fork-exec COUNT | watch OUT | least OUT\n");
  return 2;
}
