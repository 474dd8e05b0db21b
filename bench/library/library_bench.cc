// What libclonesafe costs, beside what programs use now: each pair in turn, round by round, in one
// process. usage: bench_library FILE
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include <atomic>
#include <barrier>
#include <boost/uuid/random_generator.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "bench/report/results.h"
#include "clonesafe/clonesafe.h"
#include "libclonesafe/page/generation_page_writer.h"

namespace {

using namespace clonesafe;
using bench::quantile;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 15;

double ns_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

void must(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "bench_library: %s failed\n", what);
  std::exit(1);
}

template <typename Operation>
double ns_each(int count, const Operation& operation) {
  const auto start = Clock::now();
  for (int i = 0; i < count; ++i) operation();
  return ns_since(start) / count;
}

struct Pair {
  double ours = 0;
  double peer = 0;
};

// Medians of rounds that alternate, so that both see the same machine.
template <typename Ours, typename Peer>
Pair in_turn(int our_count, const Ours& ours, int peer_count, const Peer& peer) {
  std::vector<double> our_ns;
  std::vector<double> peer_ns;
  for (int round = 0; round < kRounds; ++round) {
    our_ns.push_back(ns_each(our_count, ours));
    peer_ns.push_back(ns_each(peer_count, peer));
  }
  return {quantile(our_ns, 0.5), quantile(peer_ns, 0.5)};
}

// A page as the agent and a VMM that knows it would keep it.
class Page {
 public:
  explicit Page(const std::string& path) : writer_(*GenerationPageWriter::open(path, slot_)) {
    change();
  }
  void change() {
    ++slot_.generation;
    ++slot_.reseed_epoch;
    must(getentropy(slot_.diversifier, sizeof slot_.diversifier) == 0, "getentropy");
    must(getentropy(slot_.vm_generation_id, sizeof slot_.vm_generation_id) == 0, "getentropy");
    must(writer_.commit(writer_.control(), slot_).has_value(), "commit");
  }

 private:
  clonesafe_generation_slot slot_ = {.generation = 1,
                                     .reseed_epoch = 1,
                                     .kernel_rng_epoch = 1,
                                     .state = CLONESAFE_STATE_SAFE,
                                     .tier = CLONESAFE_TIER_WORD};
  GenerationPageWriter writer_;
};

std::uint8_t buffer[64 * 1024];

void draw16() {
  must(cs_random(buffer, 16) == 0, "cs_random");
}

void add_check(bench::Results& results) {
  cs_stamp stamp;
  must(cs_generation(&stamp) == 0, "cs_generation");
  const auto empty = [] { asm volatile(""); };
  const auto check = [&] { must(cs_changed_inline(&stamp) == 0, "cs_changed_inline"); };
  const Pair pair = in_turn(10'000'000, check, 10'000'000, empty);
  results.add(
      {.name = "library.check_ns", .value = pair.ours - pair.peer, .unit = "ns", .goal = 2});
  const auto call = [&] { must(cs_changed(&stamp) == 0, "cs_changed"); };
  // What a call into a shared library costs by itself.
  const auto nothing = [] { must(cs_strerror(0) != nullptr, "cs_strerror"); };
  const Pair called = in_turn(10'000'000, call, 10'000'000, nothing);
  results.add(
      {.name = "library.check_call_ns", .value = called.ours - pair.peer, .unit = "ns, by a call"});
  results.add({.name = "library.call_ns",
               .value = called.peer - pair.peer,
               .unit = "ns, a call that does nothing (cs_strerror of 0)"});
}

void add_ratio(bench::Results& results, const char* name, const char* peer, const Pair& pair,
               std::optional<double> goal) {
  results.add({.name = name,
               .value = pair.ours,
               .unit = "ns",
               .peer = peer,
               .peer_value = pair.peer,
               .goal = goal});
}

void add_random(bench::Results& results) {
  std::uint8_t other[16];
  add_ratio(results, "library.random16_vs_openssl", "RAND_bytes of 16 bytes",
            in_turn(1'000'000, draw16, 50'000,
                    [&] { must(RAND_bytes(other, sizeof other) == 1, "RAND_bytes"); }),
            15);
  add_ratio(results, "library.random16_vs_getrandom", "getrandom(2) of 16 bytes, the system call",
            in_turn(1'000'000, draw16, 100'000,
                    [&] {
                      must(syscall(SYS_getrandom, other, sizeof other, 0) == sizeof other,
                           "getrandom");
                    }),
            8);
}

void add_uuids(bench::Results& results) {
  unsigned char uuid[16];
  const auto ours = [&] { must(cs_uuid4(uuid) == 0, "cs_uuid4"); };
  boost::uuids::random_generator generator;
  volatile std::uint8_t sink = 0;
  add_ratio(results, "library.uuid4_vs_boost", "boost::uuids::random_generator",
            in_turn(1'000'000, ours, 100'000, [&] { sink = generator().data[0]; }), 6);
  uuid_t other;
  add_ratio(results, "library.uuid4_vs_libuuid", "uuid_generate_random",
            in_turn(1'000'000, ours, 20'000, [&] { uuid_generate_random(other); }), 40);
}

void add_bulk(bench::Results& results) {
  EVP_CIPHER_CTX* const context = EVP_CIPHER_CTX_new();
  const std::uint8_t key[32] = {1};
  const std::uint8_t iv[16] = {};
  must(EVP_EncryptInit_ex(context, EVP_chacha20(), nullptr, key, iv) == 1, "ChaCha20");
  static std::uint8_t zeros[sizeof buffer];
  int written = 0;
  const Pair pair = in_turn(
      300, [] { must(cs_random(buffer, sizeof buffer) == 0, "cs_random"); }, 300,
      [&] {
        must(EVP_EncryptUpdate(context, buffer, &written, zeros, sizeof buffer) == 1, "ChaCha20");
      });
  EVP_CIPHER_CTX_free(context);
  add_ratio(results, "library.bulk_vs_cipher", "libcrypto's ChaCha20 over 64 KiB", pair, 0.8);
}

// Draws of two at the same time, each as fast as it can, in a second.
double draws_of_two(bool processes) {
  constexpr auto kTime = std::chrono::milliseconds(300);
  auto* const counts = static_cast<std::atomic<std::uint64_t>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  must(counts != MAP_FAILED, "mmap");
  counts[0] = 0;
  const auto work = [&] {
    std::uint8_t bytes[16];
    std::uint64_t count = 0;
    must(cs_random(bytes, sizeof bytes) == 0, "cs_random");
    const auto end = Clock::now() + kTime;
    while (Clock::now() < end) {
      for (int i = 0; i < 1000; ++i) must(cs_random(bytes, sizeof bytes) == 0, "cs_random");
      count += 1000;
    }
    counts[0] += count;
  };
  if (processes) {
    for (int i = 0; i < 2; ++i) {
      const pid_t child = fork();
      must(child >= 0, "fork");
      if (child == 0) {
        work();
        _exit(0);
      }
    }
    for (int i = 0; i < 2; ++i) must(wait(nullptr) > 0, "wait");
  } else {
    std::thread one(work);
    std::thread two(work);
    one.join();
    two.join();
  }
  const auto count = static_cast<double>(counts[0]);
  munmap(counts, 4096);
  return count / std::chrono::duration<double>(kTime).count();
}

void add_threads(bench::Results& results) {
  std::vector<double> threads;
  std::vector<double> processes;
  for (int round = 0; round < 7; ++round) {
    threads.push_back(draws_of_two(false));
    processes.push_back(draws_of_two(true));
  }
  results.add({.name = "library.threads2_vs_procs2",
               .value = quantile(threads, 0.5),
               .unit = "draws of 16 bytes a second",
               .peer = "two processes",
               .peer_value = quantile(processes, 0.5),
               .goal = 0.95,
               .more_is_better = true});
}

void add_change(bench::Results& results, Page& page) {
  std::vector<double> times;
  for (int i = 0; i < 2000; ++i) {
    page.change();
    const auto start = Clock::now();
    draw16();
    times.push_back(ns_since(start) / 1000);
  }
  results.add({.name = "library.first_after_change_us",
               .value = quantile(times, 0.5),
               .unit = "us, median, warm",
               .goal = 5});
  results.add({.name = "library.first_after_change_p99",
               .value = quantile(times, 0.99),
               .unit = "us, warm"});
}

double resident_kib() {
  std::ifstream statm("/proc/self/statm");
  double size = 0;
  double resident = 0;
  statm >> size >> resident;
  return resident * 4;
}

// Threads that wait, with and without a draw before.
double kib_of_threads(bool draw) {
  constexpr int kThreads = 256;
  std::barrier ready(kThreads + 1);
  std::barrier go(kThreads + 1);
  const double before = resident_kib();
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      std::uint8_t bytes[16];
      if (draw) must(cs_random(bytes, sizeof bytes) == 0, "cs_random");
      ready.arrive_and_wait();
      go.arrive_and_wait();
    });
  }
  ready.arrive_and_wait();
  const double after = resident_kib();
  go.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  return (after - before) / kThreads;
}

void add_memory(bench::Results& results) {
  (void)kib_of_threads(true);  // what is made once
  std::vector<double> kib;
  for (int round = 0; round < 5; ++round)
    kib.push_back(kib_of_threads(true) - kib_of_threads(false));
  results.add({.name = "library.thread_kib",
               .value = quantile(kib, 0.5),
               .unit = "KiB for each thread that draws",
               .goal = 8});
}

}  // namespace

int main(int argc, char** argv) {
  must(argc == 2, "usage: bench_library FILE");
  const std::string path = "/dev/shm/clonesafe-bench-" + std::to_string(getpid());
  Page page(path);
  setenv("CLONESAFE_GENERATION_PAGE", path.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  cs_status_report status;
  const bool word = cs_status(&status, sizeof status) == 0 && status.tier == CS_TIER_WORD;
  bench::Results results;
  if (word) {
    add_check(results);
    add_random(results);
    add_uuids(results);
    add_bulk(results);
    add_threads(results);
    add_change(results, page);
    add_memory(results);
  }
  unlink(path.c_str());
  must(word, "reading the page that it made itself");
  must(results.write(argv[1]), "writing the results");
}
