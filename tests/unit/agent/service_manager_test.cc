#include "guest_agent/systemd/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

class ServiceManagerTest : public testing::Test {
 protected:
  ServiceManagerTest() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    const std::string path = folder_ / "notify";
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~ServiceManagerTest() override { ::unsetenv("NOTIFY_SOCKET"); }

  // The next datagram; empty if there is none.
  std::string heard() {
    char block[512];
    const ssize_t size = ::recv(socket_.get(), block, sizeof block, MSG_DONTWAIT);
    return size < 0 ? std::string() : std::string(block, static_cast<std::size_t>(size));
  }

  TemporaryFolder folder_;
  UniqueFd socket_;
  AgentStatus status_{.state = CLONESAFE_STATE_SAFE, .tier = CLONESAFE_TIER_WORD};
  ServiceManager manager_;
};

TEST_F(ServiceManagerTest, IsToldOfEachChangeOnce) {
  manager_.ready(status_);
  EXPECT_EQ(heard(), "READY=1\nSTATUS=safe (boot, 0 restores), tier word");
  manager_.changed(status_);
  EXPECT_EQ(heard(), "");
  status_.state = CLONESAFE_STATE_DEGRADED;
  status_.kind = RestoreKind::kClone;
  status_.restores = 1;
  manager_.changed(status_);
  EXPECT_EQ(heard(), "STATUS=degraded (clone, 1 restores), tier word");
  status_.prepared = true;
  manager_.changed(status_);
  EXPECT_EQ(heard(), "STATUS=degraded (clone, 1 restores), tier word, prepared for a snapshot");
  manager_.stopping();
  EXPECT_EQ(heard(), "STOPPING=1");
}

TEST_F(ServiceManagerTest, SocketMayBeAbstract) {
  const std::string name = "clonesafe-test-" + std::to_string(::getpid());
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof(address.sun_path) - 2);
  socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())),
            0);
  ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
  manager_.stopping();
  EXPECT_EQ(heard(), "STOPPING=1");
}

TEST_F(ServiceManagerTest, NothingHappensWithoutOne) {
  ::unsetenv("NOTIFY_SOCKET");
  manager_.ready(status_);
  manager_.stopping();
  EXPECT_EQ(heard(), "");
}

TEST_F(ServiceManagerTest, OneThatIsGoneHoldsUpNothing) {
  socket_.reset();
  manager_.ready(status_);
  manager_.changed(status_);
}

}  // namespace
}  // namespace clonesafe::agent
