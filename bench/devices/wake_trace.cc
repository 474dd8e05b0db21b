#include "bench/devices/wake_trace.h"

#include <sys/mount.h>

#include <filesystem>
#include <fstream>

#include "bench/devices/vmm_threads.h"

namespace clonesafe::bench {
namespace {

namespace fs = std::filesystem;

const fs::path kTracing = "/sys/kernel/tracing";
const fs::path kEvent = kTracing / "events/sched/sched_waking";

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

// "pid==12 || pid==13": the threads of the process that are no vCPUs.
std::string filter_of(pid_t process) {
  std::string filter;
  std::error_code error;
  for (const auto& thread :
       fs::directory_iterator("/proc/" + std::to_string(process) + "/task", error)) {
    std::string name;
    std::getline(std::ifstream(thread.path() / "comm") >> std::ws, name);
    if (is_vcpu(name)) continue;
    if (!filter.empty()) filter += " || ";
    filter += "pid==" + thread.path().filename().string();
  }
  return filter;
}

}  // namespace

WakeTrace::WakeTrace(pid_t process) {
  if (!fs::exists(kEvent)) ::mount("tracefs", kTracing.c_str(), "tracefs", 0, nullptr);
  write(kTracing / "trace", "");
  write(kEvent / "filter", filter_of(process));
  write(kEvent / "enable", "1");
}

WakeTrace::~WakeTrace() {
  write(kEvent / "enable", "0");
}

std::string WakeTrace::lines() const {
  std::string lines;
  std::ifstream trace(kTracing / "trace");
  for (std::string line; std::getline(trace, line);) {
    if (!line.starts_with('#')) lines += line + "\n";
  }
  return lines;
}

}  // namespace clonesafe::bench
