#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/unit/jail/fixture.h"

namespace clonesafe::jail {
namespace {

constexpr uid_t kNobody = 65534;

bool has_no_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  for (const auto& half : data)
    if (half.effective != 0 || half.permitted != 0 || half.inheritable != 0) return false;
  return true;
}

bool bounding_set_is_empty() {
  for (int capability = 0;; ++capability) {
    const int held = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (held < 0) return capability > 0;
    if (held != 0) return false;
  }
}

class Process : public JailTest {
 protected:
  // The step at which it went wrong, 0 for none.
  int confined_in_empty_directory() {
    if (!enter_empty_directory()) return 10;
    const auto missing = confine_process({.file_size = 1 << 20}, violation_);
    if (!missing) return 11;
    if (!missing->empty()) return 12;
    if (::access("/etc", F_OK) == 0 || errno != ENOENT) return 13;
    if (::access("../../../etc", F_OK) == 0) return 14;
    if (::open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0) return 15;
    if (!has_no_capabilities()) return 16;
    if (!bounding_set_is_empty()) return 17;
    if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return 18;
    if (::chroot(".") == 0) return 19;
    return 0;
  }
};

TEST_F(Process, HasAnEmptyRootAndNoCapabilities) {
  if (::geteuid() != 0) GTEST_SKIP() << "another test is for who is not root";
  EXPECT_EQ(in_process([&] { return confined_in_empty_directory(); }), 0);
}

TEST_F(Process, NeedsNoPrivilegesWhereUserNamespacesAreToBeHad) {
  const int status = in_process([&] {
    if (::geteuid() == 0 && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) return 9;
    // A process that changed its user is not its own in /proc, which user namespaces look at.
    ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    return confined_in_empty_directory();
  });
  if (status == W_EXITCODE(12, 0)) GTEST_SKIP() << "no user namespaces for ordinary users here";
  EXPECT_EQ(status, 0) << "step " << WEXITSTATUS(status);
}

TEST_F(Process, SaysWhatItCouldNotGiveUp) {
  const int status = in_process([&] {
    if (::geteuid() == 0 && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) return 9;
    const auto missing = confine_process({.change_root = false}, violation_);
    if (!missing) return 10;
    // Without a namespace of its own an ordinary user can't empty the bounding set.
    return missing->size() == 1 && missing->front().starts_with("capability bounding set") ? 0 : 11;
  });
  EXPECT_EQ(status, 0) << "step " << WEXITSTATUS(status);
}

TEST_F(Process, HasLimitsButNoHigherOnesThanBefore) {
  const int status = in_process([&] {
    const rlimit low{.rlim_cur = 100, .rlim_max = 100};
    if (::setrlimit(RLIMIT_NOFILE, &low) != 0) return 9;
    if (!confine_process({.open_files = 2048, .file_size = 4096, .change_root = false}, violation_))
      return 10;
    rlimit now{};
    ::getrlimit(RLIMIT_NOFILE, &now);
    if (now.rlim_cur != 100) return 11;
    ::getrlimit(RLIMIT_CORE, &now);
    if (now.rlim_max != 0) return 12;
    ::getrlimit(RLIMIT_FSIZE, &now);
    if (now.rlim_max != 4096) return 13;
    return 0;
  });
  EXPECT_EQ(status, 0) << "step " << WEXITSTATUS(status);
}

// A clone must not outlive its supervisor.
TEST_F(Process, StillDiesWithItsParent) {
  EXPECT_EQ(in_process([&] {
              ::prctl(PR_SET_PDEATHSIG, SIGKILL);
              if (confined_in_empty_directory() != 0) return 1;
              int signal = 0;
              ::prctl(PR_GET_PDEATHSIG, &signal);
              return signal == SIGKILL ? 0 : 2;
            }),
            0);
}

TEST_F(Process, KeepsWhatIsInItsNewRoot) {
  char folder[] = "/tmp/jail.XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const int status = in_process([&] {
    if (::chdir(folder) != 0) return 9;
    if (!confine_process({}, violation_)) return 10;
    if (::open("/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0) return 11;
    return ::unlink("file") == 0 ? 0 : 12;
  });
  EXPECT_EQ(status, 0) << "step " << WEXITSTATUS(status);
  EXPECT_EQ(::rmdir(folder), 0);
}

}  // namespace
}  // namespace clonesafe::jail
