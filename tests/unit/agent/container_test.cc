// What a container sees of the agent: files that are bind-mounted read-only in a mount namespace of
// its own.
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/unit/agent/agent_fixture.h"

namespace clonesafe::agent {
namespace {

enum ExitCode { kGood, kNoNamespace, kNoMount, kNoPage, kWritable, kUnseen, kStale, kRefused };

// In a child: the file at another path, on a read-only mount that nobody else sees. Another path:
// what is mounted over its own name would go with the name.
ExitCode mount_read_only(const std::string& path, const std::string& inside) {
  UniqueFd(::open(inside.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)).reset();
  if (::unshare(CLONE_NEWNS) != 0) return kNoNamespace;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount(path.c_str(), inside.c_str(), nullptr, MS_BIND, nullptr) != 0 ||
      ::mount(nullptr, inside.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0)
    return kNoMount;
  return kGood;
}

class ContainerTest : public AgentTest {
 protected:
  ContainerTest() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    ready_read_.reset(ends[0]);
    ready_write_.reset(ends[1]);
  }
  // Runs `program` in a container, up to its call of ready().
  template <typename Program>
  void start_container(Program program) {
    child_ = ::fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) ::_exit(program());
    ready_write_.reset();
    wait_until_ready();
  }
  void wait_until_ready() {
    char byte = 0;
    (void)!::read(ready_read_.get(), &byte, 1);
  }
  void ready() { (void)!::write(ready_write_.get(), "x", 1); }
  int exit_code() const {
    int status = 0;
    EXPECT_EQ(::waitpid(child_, &status, 0), child_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static bool sees(const GenerationPageReader& reader, std::uint64_t generation) {
    for (int i = 0; i < 5000; ++i) {
      if (const auto page = reader.read(); page && page->slot.generation == generation) return true;
      ::usleep(1000);
    }
    return false;
  }

  const std::string inside_ = folder_ / "inside";
  UniqueFd ready_read_;
  UniqueFd ready_write_;
  pid_t child_ = 0;
};

TEST_F(ContainerTest, PageOnAReadOnlyMountIsThePageAlsoOfALaterAgent) {
  start();
  start_container([this] {
    if (const ExitCode mounted = mount_read_only(page_path_, inside_); mounted != kGood)
      return mounted;
    const auto reader = GenerationPageReader::open(inside_);
    if (!reader) return kNoPage;
    if (UniqueFd(::open(inside_.c_str(), O_RDWR | O_CLOEXEC)) || errno != EROFS) return kWritable;
    ready();
    if (!sees(*reader, 11)) return kUnseen;
    ready();
    if (!sees(*reader, 12)) return kUnseen;
    return reader->is_current() ? kGood : kStale;
  });
  pages_.write(RestoreKind::kClone, 11, 2);
  agent_->check("test");
  wait_until_ready();
  agent_.reset();
  start();
  pages_.write(RestoreKind::kClone, 12, 3);
  agent_->check("test");
  const int code = exit_code();
  if (code == kNoNamespace || code == kNoMount) GTEST_SKIP() << "SKIPPED: no right to mount";
  EXPECT_EQ(code, kGood);
}

TEST_F(ContainerTest, SocketOnAReadOnlyMountTakesConnectionsUntilItsAgentIsGone) {
  const std::string path = folder_ / "agent.sock";
  const auto address_of = [](const std::string& name) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof(address.sun_path) - 1);
    return address;
  };
  const auto listen = [&] {
    const sockaddr_un address = address_of(path);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    return fd;
  };
  // The error, if any. EAGAIN: somebody listens, and is behind.
  const auto connect = [&](const std::string& name) {
    const sockaddr_un address = address_of(name);
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
    return ::connect(fd.get(), generic, sizeof(address)) == 0 ? 0 : errno;
  };
  UniqueFd agent = listen();
  start_container([&] {
    agent.reset();
    if (const ExitCode mounted = mount_read_only(path, inside_); mounted != kGood) return mounted;
    if (connect(inside_) != 0) return kRefused;
    ready();
    for (int i = 0; i < 5000 && connect(inside_) != ECONNREFUSED; ++i) ::usleep(1000);
    return connect(inside_) == ECONNREFUSED ? kGood : kStale;
  });
  agent.reset();
  EXPECT_EQ(::unlink(path.c_str()), 0);
  agent = listen();
  const int code = exit_code();
  if (code == kNoNamespace || code == kNoMount) GTEST_SKIP() << "SKIPPED: no right to mount";
  EXPECT_EQ(code, kGood);
  EXPECT_EQ(connect(path), 0);
}

}  // namespace
}  // namespace clonesafe::agent
