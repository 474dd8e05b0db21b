#include "bench/devices/vmm_threads.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace clonesafe::bench {
namespace {

namespace fs = std::filesystem;

std::string line_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

ThreadCounts counts_of_thread(const fs::path& thread) {
  ThreadCounts counts;
  std::ifstream status(thread / "status");
  for (std::string word; status >> word;) {
    if (word == "voluntary_ctxt_switches:") status >> counts.slept;
  }
  // proc(5): what follows the name begins with field 3; utime and stime are 14 and 15.
  const std::string stat = line_of(thread / "stat");
  std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string field;
  for (int number = 3; number <= 15 && fields >> field; ++number) {
    if (number >= 14) counts.ticks += std::strtoull(field.c_str(), nullptr, 10);
  }
  return counts;
}

}  // namespace

VmmCounts counts_of(pid_t vmm) {
  VmmCounts counts;
  std::error_code error;
  const fs::path process = fs::path("/proc") / std::to_string(vmm);
  for (const auto& thread : fs::directory_iterator(process / "task", error)) {
    const ThreadCounts own = counts_of_thread(thread.path());
    ThreadCounts& named = counts.threads[line_of(thread.path() / "comm")];
    named.slept += own.slept;
    named.ticks += own.ticks;
  }
  for (const auto& vm : fs::directory_iterator("/sys/kernel/debug/kvm", error)) {
    if (!vm.path().filename().string().starts_with(std::to_string(vmm) + "-")) continue;
    for (const auto& statistic : fs::directory_iterator(vm.path(), error)) {
      const std::string value = line_of(statistic.path());
      if (!value.empty())
        counts.kvm[statistic.path().filename()] = std::strtoull(value.c_str(), nullptr, 10);
    }
  }
  return counts;
}

VmmCounts operator-(VmmCounts after, const VmmCounts& before) {
  for (auto& [name, thread] : after.threads) {
    const auto found = before.threads.find(name);
    if (found == before.threads.end()) continue;
    thread.slept -= found->second.slept;
    thread.ticks -= found->second.ticks;
  }
  for (auto& [name, value] : after.kvm) {
    const auto found = before.kvm.find(name);
    if (found != before.kvm.end()) value -= found->second;
  }
  return after;
}

bool is_vcpu(const std::string& thread) {
  return thread.starts_with("vcpu ") || thread.starts_with("CPU ");
}

std::uint64_t slept(const VmmCounts& counts, bool vcpus) {
  std::uint64_t all = 0;
  for (const auto& [name, thread] : counts.threads)
    if (is_vcpu(name) == vcpus) all += thread.slept;
  return all;
}

std::string describe(const VmmCounts& counts) {
  std::ostringstream text;
  for (const auto& [name, thread] : counts.threads)
    text << name << ": slept " << thread.slept << ", ticks " << thread.ticks << "; ";
  for (const char* name : {"exits", "mmio_exits", "io_exits", "halt_exits", "irq_exits",
                           "irq_injections", "signal_exits", "halt_wakeup", "nested_run"}) {
    const auto found = counts.kvm.find(name);
    if (found != counts.kvm.end()) text << name << " " << found->second << ", ";
  }
  return text.str();
}

}  // namespace clonesafe::bench
