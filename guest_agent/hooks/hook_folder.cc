#include "guest_agent/hooks/hook_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// Why others than root and the agent's user could change it; empty if they can't.
std::string changeable_by_others(const struct stat& status) {
  if (status.st_uid != 0 && status.st_uid != ::geteuid())
    return "belongs to user " + std::to_string(status.st_uid);
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "others than its owner may write it";
  return {};
}

// Null if it is not there.
Result<UniqueFd> open_trusted(int parent, const std::string& name, const std::string& path) {
  UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return UniqueFd();
    return fail_errno("hooks: " + path);
  }
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("hooks: " + path);
  if (const std::string why = changeable_by_others(status); !why.empty())
    return fail("hooks: " + path + " " + why);
  return fd;
}

bool is_hook_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

std::string why_refused(const struct stat& status) {
  if (!S_ISREG(status.st_mode)) return "is not a regular file";
  if ((status.st_mode & S_IXUSR) == 0) return "is not executable";
  return changeable_by_others(status);
}

}  // namespace

Result<std::vector<HookProgram>> list_hook_programs(const std::string& folder, HookPhase phase) {
  const std::string phase_name(name_of(phase));
  auto outer = open_trusted(AT_FDCWD, folder, folder);
  if (!outer) return fail(std::move(outer.error()));
  if (!*outer) return std::vector<HookProgram>();
  const std::string path = folder + "/" + phase_name;
  auto inner = open_trusted(outer->get(), phase_name, path);
  if (!inner) return fail(std::move(inner.error()));
  if (!*inner) return std::vector<HookProgram>();

  const int fd = inner->get();
  const Directory directory(::fdopendir(fd));
  if (!directory) return fail_errno("hooks: " + path);
  (void)inner->release();  // the stream's now
  std::vector<HookProgram> programs;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): of a stream that no other thread has
  while (const dirent* const entry = ::readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (!is_hook_name(name)) continue;
    struct stat status = {};
    if (::fstatat(fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      return fail_errno("hooks: " + path + "/" + name);
    programs.push_back({.name = name, .path = path + "/" + name, .refused = why_refused(status)});
  }
  std::ranges::sort(programs, {}, &HookProgram::name);
  if (phase == HookPhase::kBeforeSnapshot) std::ranges::reverse(programs);
  return programs;
}

}  // namespace clonesafe::agent
