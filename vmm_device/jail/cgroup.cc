#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/jail/jail.h"

namespace clonesafe::jail {

Status join_cgroup(const std::filesystem::path& group) {
  const std::string file = (group / "cgroup.procs").string();
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno("cgroup " + file);
  struct statfs system{};
  if (::fstatfs(fd.get(), &system) != 0) return fail_errno("cgroup " + file + ": fstatfs");
  if (system.f_type != CGROUP2_SUPER_MAGIC)
    return fail("cgroup " + group.string() + ": not in a cgroup v2 file system");
  if (::write(fd.get(), "0", 1) != 1) return fail_errno("cgroup " + file);
  return {};
}

}  // namespace clonesafe::jail
