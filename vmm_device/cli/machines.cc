#include "vmm_device/cli/machines.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace clonesafe::cli {

namespace fs = std::filesystem;
namespace {

constexpr int kDeepest = 2;

bool is_control_socket(const fs::path& path) {
  if (path.filename() != "api.sock" && path.extension() != ".api") return false;
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode) &&
         status.st_uid == ::geteuid();
}

}  // namespace

fs::path runtime_directory() {
  const char* base = std::getenv("XDG_RUNTIME_DIR");  // NOLINT(concurrency-mt-unsafe): one thread
  return base != nullptr && *base == '/' ? base : "/tmp";
}

std::vector<fs::path> control_sockets(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied,
                                         error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    if (entry.depth() >= kDeepest) entry.disable_recursion_pending();
    if (is_control_socket(entry->path())) found.push_back(entry->path());
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace clonesafe::cli
