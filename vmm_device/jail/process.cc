// What a process gives up as a whole. While it has one thread: capabilities belong to threads, and
// a user namespace is refused to a process with two.
#include <linux/capability.h>
#include <malloc.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "vmm_device/jail/jail.h"

namespace clonesafe::jail {
namespace {

// Lowers a limit; one that is lower already stays.
Status limit(__rlimit_resource resource, const char* name, std::uint64_t most) {
  rlimit now{};
  if (::getrlimit(resource, &now) != 0) return fail_errno(std::string("getrlimit ") + name);
  now.rlim_cur = std::min<rlim_t>(now.rlim_cur, most);
  now.rlim_max = std::min<rlim_t>(now.rlim_max, most);
  if (::setrlimit(resource, &now) != 0) return fail_errno(std::string("setrlimit ") + name);
  return {};
}

// The current directory becomes the root. Who may not do that here may in a user namespace of its
// own. No file of the old root is open as a directory, and the right to do it once more goes right
// after: there is no way back.
Status change_root() {
  if (::chroot(".") != 0) {
    if (errno != EPERM) return fail_errno("chroot");
    if (::unshare(CLONE_NEWUSER) != 0) return fail_errno("user namespace");
    if (::chroot(".") != 0) return fail_errno("chroot in a user namespace");
  }
  if (::chdir("/") != 0) return fail_errno("chdir to the new root");
  return {};
}

// False: this process may not touch its bounding set, having no CAP_SETPCAP.
Result<bool> empty_bounding_set() {
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EPERM) return false;
    return fail_errno("dropping capability " + std::to_string(capability));
  }
  return true;
}

Status drop_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capset, &header, none) != 0) return fail_errno("dropping all capabilities");
  return {};
}

}  // namespace

Status enter_empty_directory() {
  std::error_code error;
  const auto temporary = std::filesystem::temp_directory_path(error);
  if (error) return fail("directory for temporary files: " + error.message());
  std::string name = (temporary / "clonevm.XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) return fail_errno(name);
  const bool entered = ::chdir(name.c_str()) == 0;
  const int error_number = errno;
  // Removed while it is the current directory: nothing can be made in it any more.
  if (::rmdir(name.c_str()) != 0) return fail_errno(name + ": rmdir");
  if (!entered) return fail_errno(name, error_number);
  return {};
}

Result<std::vector<std::string>> confine_process(const ProcessLimits& limits,
                                                 Violation* violation) {
  std::vector<std::string> missing;
  if (auto done = record_violations(violation); !done) return fail(done.error());
  // glibc looks at /proc when it shrinks the heap of a second arena, which a jailed thread can't.
  // (Another allocator, as a sanitizer's, knows no arenas and says so.)
  ::mallopt(M_ARENA_MAX, 1);
  // Reads the time zone while its file can be found; log lines have local times.
  ::tzset();  // NOLINT(concurrency-mt-unsafe): the process has one thread yet
  if (auto done = limit(RLIMIT_CORE, "CORE", 0); !done) return fail(done.error());
  if (auto done = limit(RLIMIT_NOFILE, "NOFILE", limits.open_files); !done)
    return fail(done.error());
  if (limits.file_size != 0) {
    if (auto done = limit(RLIMIT_FSIZE, "FSIZE", limits.file_size); !done)
      return fail(done.error());
  }
  if (limits.change_root) {
    if (auto done = change_root(); !done)
      missing.push_back("root directory unchanged: " + done.error().message());
  }
  auto emptied = empty_bounding_set();
  if (!emptied) return fail(emptied.error());
  if (!*emptied) missing.emplace_back("capability bounding set kept: no right to empty it");
  if (auto done = drop_capabilities(); !done) return fail(done.error());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno("no_new_privs");
  return missing;
}

}  // namespace clonesafe::jail
