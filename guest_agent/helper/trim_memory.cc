#include "guest_agent/helper/trim_memory.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include "guest_agent/base/elapsed.h"
#include "guest_agent/base/files.h"

namespace clonesafe::agent {
namespace {

using Clock = std::chrono::steady_clock;

// KiB that no page holds; 0 if the kernel doesn't say.
std::int64_t free_kib(const std::string& meminfo) {
  constexpr std::string_view kName = "MemFree:";
  const std::string text = read_file(meminfo).value_or("");
  auto at = text.find(kName);
  if (at == std::string::npos) return 0;
  at = text.find_first_not_of(' ', at + kName.size());
  if (at == std::string::npos) return 0;
  std::int64_t kib = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), kib);
  return kib;
}

// Does one thing, and says how it went and how much more memory is free after it.
RepairResult step(const char* name, const TrimPaths& paths, const std::function<Status()>& what) {
  const auto start = Clock::now();
  const std::int64_t before = free_kib(paths.meminfo);
  const Status done = what();
  return {.name = name,
          .outcome = done ? Outcome::kOk : Outcome::kFailed,
          .us = microseconds_since(start),
          .detail = done ? fmt::format("{} KiB given back", free_kib(paths.meminfo) - before)
                         : done.error().message()};
}

Status reclaim(const TrimMemory& trim, const TrimPaths& paths,
               const std::function<bool(std::chrono::milliseconds)>& wait) {
  const std::string switch_path = paths.reclaim + "/enabled";
  if (auto on = write_in_place(switch_path, "Y"); !on) return on;
  const bool go_on = wait(trim.reclaim);
  // Off again in any case: it must not run in the clones.
  if (auto off = write_in_place(switch_path, "N"); !off) return off;
  return go_on ? Status() : fail("cancelled");
}

bool exists(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0;
}

}  // namespace

void trim_memory(const TrimMemory& trim, const TrimPaths& paths,
                 const std::function<bool(RepairResult)>& report,
                 const std::function<bool(std::chrono::milliseconds)>& wait) {
  if (trim.drop_caches) {
    // Only what is on disk can be dropped.
    const auto write_back = [] {
      ::sync();
      return Status();
    };
    if (!report(step("sync", paths, write_back))) return;
    const auto drop = [&] { return write_in_place(paths.drop_caches, "3"); };
    if (!report(step("drop_caches", paths, drop))) return;
  }
  if (trim.reclaim.count() == 0) return;
  if (!exists(paths.reclaim)) {
    (void)report({.name = "reclaim",
                  .outcome = Outcome::kSkipped,
                  .detail = "this kernel has no " + paths.reclaim});
    return;
  }
  (void)report(step("reclaim", paths, [&] { return reclaim(trim, paths, wait); }));
}

}  // namespace clonesafe::agent
