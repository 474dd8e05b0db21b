// What the agent's tests put in place of the machine: pages in files, a kernel that does as it is
// told, a host that only listens, timers that run when the test says so.
#ifndef CLONESAFE_TESTS_UNIT_AGENT_FAKES_H_
#define CLONESAFE_TESTS_UNIT_AGENT_FAKES_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "clonesafe/abi/restore_page.h"
#include "guest_agent/base/files.h"
#include "guest_agent/core/agent.h"
#include "guest_agent/repairs/kernel.h"
#include "guest_agent/sources/restore_page_source.h"
#include "libclonesafe/base/mapping.h"

namespace clonesafe::agent {

inline constexpr char kOldMachineId[] = "0123456789abcdef0123456789abcdef\n";

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "clonesafe-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, std::string_view contents) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << contents;
  }
  std::string read(const std::string& name) const {
    return read_file(path_ + "/" + name).value_or("(unreadable)");
  }

 private:
  std::string path_;
};

inline Id16 id(std::uint8_t fill) {
  Id16 bytes;
  bytes.fill(fill);
  return bytes;
}

inline Bytes32 bytes32(std::uint8_t fill) {
  Bytes32 bytes;
  bytes.fill(fill);
  return bytes;
}

// Restore page and seed page in a file, written as a VMM would while no vCPU runs.
class RestorePages {
 public:
  explicit RestorePages(const std::string& path) : path_(path) {
    std::ofstream(path, std::ios::binary) << std::string(2 * 4096, '\0');
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    mapping_ =
        *Mapping::map(path, std::size_t{2} * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get());
  }

  const std::string& path() const { return path_; }
  clonesafe_restore_page& page() {
    return *reinterpret_cast<clonesafe_restore_page*>(mapping_.data());
  }
  clonesafe_seed_page& seed() {
    return *reinterpret_cast<clonesafe_seed_page*>(mapping_.data() + 4096);
  }

  // `serial` makes the restore's id, epoch and seed its own.
  void write(RestoreKind kind, std::uint64_t generation, std::uint8_t serial) {
    clonesafe_restore_page& restore = page();
    restore.magic = CLONESAFE_RESTORE_PAGE_MAGIC;
    restore.version = CLONESAFE_RESTORE_PAGE_VERSION;
    restore.size = CLONESAFE_RESTORE_PAGE_SIZE;
    restore.sequence += 2;
    restore.kind = static_cast<std::uint32_t>(kind);
    restore.generation = generation;
    restore.reseed_epoch = 1000U + serial;
    std::memset(restore.vm_generation_id, static_cast<int>(generation & 0xff), 16);
    std::memset(restore.restore_id, serial, 16);
    restore.host_realtime_ns = 5;
    restore.seed_page_address = 4096;
    clonesafe_seed_page& secret = seed();
    secret.magic = CLONESAFE_SEED_PAGE_MAGIC;
    secret.version = CLONESAFE_SEED_PAGE_VERSION;
    secret.present = 1;
    std::memset(secret.restore_id, serial, 16);
    std::memset(secret.seed, 0x80 | serial, sizeof(secret.seed));
  }

 private:
  std::string path_;
  Mapping mapping_;
};

class FakeKernel : public Kernel {
 public:
  Status add_entropy(std::span<const std::uint8_t> bytes, int credit_bits) override {
    calls.push_back("add " + hex(bytes) + " credit " + std::to_string(credit_bits));
    return outcome("add");
  }
  Status mix(std::span<const std::uint8_t> bytes) override {
    calls.emplace_back("mix");
    mixed = hex(bytes);
    return outcome("mix");
  }
  Status reseed() override {
    calls.emplace_back("reseed");
    return outcome("reseed");
  }
  Status random(std::span<std::uint8_t> bytes) override {
    calls.emplace_back("random");
    if (!stuck) ++counter;
    std::fill(bytes.begin(), bytes.end(), counter);
    return outcome("random");
  }
  Result<std::string> hostname() override { return name; }
  Status set_hostname(const std::string& new_name) override {
    if (auto done = outcome("hostname"); !done) return done;
    name = new_name;
    return {};
  }
  Result<std::int64_t> clock(clockid_t which) override {
    if (auto done = outcome("clock"); !done) return fail(done.error());
    return which == CLOCK_REALTIME ? realtime : monotonic;
  }
  Status set_realtime(std::int64_t ns) override {
    if (auto done = outcome("set_realtime"); !done) return done;
    if (!clock_is_stuck) realtime = ns;
    ++times_set;
    return {};
  }
  std::uint64_t tsc() override { return counter_now; }
  Status bind_mount(const std::string& from, const std::string& over) override {
    calls.push_back("mount");
    if (auto done = outcome("mount"); !done) return done;
    // As near to a bind mount as files come: one inode under both names.
    std::filesystem::remove(over);
    std::filesystem::create_hard_link(from, over);
    return {};
  }

  std::vector<std::string> calls;
  std::string mixed;
  std::string name = "web";
  std::uint8_t counter = 0;
  std::int64_t realtime = 1'000'000'000'000;
  std::int64_t monotonic = 7'000'000'000;
  std::uint64_t counter_now = 0;
  bool clock_is_stuck = false;
  int times_set = 0;
  bool stuck = false;
  // Call -> the errno it fails with.
  std::map<std::string, int> errors;
  // Runs inside the call, where a restore may happen.
  std::function<void(const std::string&)> during;

 private:
  Status outcome(const std::string& call) {
    if (during) during(call);
    if (const auto found = errors.find(call); found != errors.end()) {
      return fail_errno(call, found->second);
    }
    return {};
  }
};

class FakeHost : public HostLink {
 public:
  void send(std::string line) override { lines.push_back(std::move(line)); }
  std::size_t count(const std::string& type) const {
    std::size_t count = 0;
    for (const std::string& line : lines) {
      if (line.starts_with("{\"type\":\"" + type + "\"")) ++count;
    }
    return count;
  }
  std::vector<std::string> lines;
};

class ManualTimers : public Timers {
 public:
  void after(std::chrono::milliseconds delay, std::function<void()> run) override {
    pending.push_back({delay, std::move(run)});
  }
  // Runs the oldest pending timer of exactly this delay.
  bool run_one_of(std::chrono::milliseconds delay) {
    for (auto timer = pending.begin(); timer != pending.end(); ++timer) {
      if (timer->first != delay) continue;
      const auto run = std::move(timer->second);
      pending.erase(timer);
      run();
      return true;
    }
    return false;
  }
  std::deque<std::pair<std::chrono::milliseconds, std::function<void()>>> pending;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_TESTS_UNIT_AGENT_FAKES_H_
