// Each in a child process: what is given up does not come back.
#include "proxy/program/rights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::proxy {
namespace {

// The number of the first check that fails, 0 for none.
int in_child(const std::function<int()>& checks) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(checks());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool may_leave_silently() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  return ::setsockopt(fd.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0;
}

TEST(ProxyRights, BecomesTheUserAndKeepsOneCapability) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root";
  const passwd* const nobody = ::getpwnam("nobody");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_NE(nobody, nullptr);
  const uid_t user = nobody->pw_uid;
  const bool could = may_leave_silently();
  EXPECT_EQ(in_child([&] {
              if (!drop_rights("nobody")) return 1;
              if (::getuid() != user || ::geteuid() != user) return 2;
              if (may_leave_silently() != could) return 3;
              if (::setuid(0) == 0) return 4;
              if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return 5;
              if (::access("/root", W_OK) == 0) return 6;
              if (::getgid() == 0) return 7;
              return 0;
            }),
            0);
}

TEST(ProxyRights, AreGivenUpByRootToo) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root";
  EXPECT_EQ(in_child([] {
              if (!drop_rights("")) return 1;
              // CAP_SETUID, CAP_SYS_ADMIN.
              if (::setuid(1) == 0) return 2;
              return ::sethostname("x", 1) == 0 ? 3 : 0;
            }),
            0);
}

TEST(ProxyRights, RefusesAUserThatNobodyKnows) {
  const auto dropped = drop_rights("nobody-of-this-name");
  ASSERT_FALSE(dropped);
  EXPECT_EQ(dropped.error().message(), "user 'nobody-of-this-name' is not known");
}

}  // namespace
}  // namespace clonesafe::proxy
