#include "proxy/core/fence.h"

#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

using FenceTest = ProxyTest;

TEST_F(FenceTest, MovesInACloneAndNotInItsSource) {
  const Guard before(loop_.fence());
  EXPECT_FALSE(before.stale());
  resume_this_machine();
  EXPECT_FALSE(before.stale()) << "the source keeps its connections";
  clone_this_machine();
  EXPECT_TRUE(before.stale());
  const Guard after(loop_.fence());
  EXPECT_FALSE(after.stale());
  EXPECT_FALSE(Guard().stale());
  resume_this_machine();
  clone_this_machine();
  EXPECT_TRUE(after.stale());
}

// The child has the parent's keys and sockets: the same as a clone.
TEST_F(FenceTest, MovesInAChildOfFork) {
  const Guard guard(loop_.fence());
  const pid_t child = ::fork();
  if (child == 0) ::_exit(guard.stale() ? 7 : 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_FALSE(guard.stale());
}

}  // namespace
}  // namespace clonesafe::proxy
