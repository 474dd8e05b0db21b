// What an audit relies on of QEMU's machine protocol, against a QEMU of a few lines.
#include "tests/audit/run/qmp.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <thread>

namespace clonesafe::audit {
namespace {

// Says that its migration has completed while its machine is still being moved, as QEMU does for a
// moment, and refuses `cont` until then.
class LateQemu {
 public:
  LateQemu(const std::filesystem::path& socket, int polls_until_moved,
           std::string version = R"({"major":10,"minor":0,"micro":8})")
      : greeting_(R"({"QMP":{"version":{"qemu":)" + std::move(version) + "}}}"),
        listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
        polls_left_(polls_until_moved) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    socket.string().copy(name.sun_path, sizeof name.sun_path - 1);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    server_ = std::jthread([this] { serve(); });
  }
  ~LateQemu() { ::shutdown(listener_.get(), SHUT_RDWR); }
  LateQemu(const LateQemu&) = delete;
  LateQemu& operator=(const LateQemu&) = delete;

 private:
  void serve() {
    const UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    say(peer, greeting_);
    std::string received;
    char block[4096];
    for (ssize_t size; (size = ::recv(peer.get(), block, sizeof block, 0)) > 0;) {
      received.append(block, static_cast<std::size_t>(size));
      for (std::size_t end; (end = received.find('\n')) != std::string::npos;) {
        say(peer, answer(received.substr(0, end)));
        received.erase(0, end + 1);
      }
    }
  }

  std::string_view answer(std::string_view order) {
    // What asks for a migration in another way than this version knows is refused.
    const bool old = greeting_.contains(R"("major":7)");
    if (order.contains("\"uri\"") && !order.contains(old ? "\"exec:cat >/" : "\"file:/"))
      return R"({"error":{"class":"GenericError","desc":"unknown migration protocol"}})";
    if (order.contains("query-migrate")) return R"({"return":{"status":"completed"}})";
    if (order.contains("query-status")) {
      if (polls_left_ > 0) --polls_left_;
      return polls_left_ > 0 ? R"({"return":{"running":false,"status":"finish-migrate"}})"
                             : R"({"return":{"running":false,"status":"postmigrate"}})";
    }
    if (order.contains("cont") && polls_left_ > 0)
      return R"({"error":{"class":"GenericError","desc":"Migration is not finalized yet"}})";
    return R"({"return":{}})";
  }

  static void say(const UniqueFd& peer, std::string_view answer) {
    const std::string line = std::string(answer) + "\n";
    EXPECT_EQ(::send(peer.get(), line.data(), line.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(line.size()));
  }

  const std::string greeting_;
  UniqueFd listener_;
  int polls_left_;
  std::jthread server_;  // last, so that it ends first
};

class QmpTest : public testing::Test {
 protected:
  QmpTest() { EXPECT_NE(::mkdtemp(folder_.data()), nullptr); }
  ~QmpTest() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path socket() const { return std::filesystem::path(folder_) / "qmp.sock"; }

 private:
  std::string folder_ = testing::TempDir() + "qmp.XXXXXX";
};

TEST_F(QmpTest, AMigrationIsOverWhenTheMachineCanBeStarted) {
  const LateQemu late(socket(), 3);
  auto qmp = Qmp::connect(socket());
  ASSERT_TRUE(qmp) << qmp.error().message();
  const auto migrated = qmp->wait_migrated();
  EXPECT_TRUE(migrated) << migrated.error().message();
  const auto running = qmp->execute("cont");
  EXPECT_TRUE(running) << running.error().message();
  // Its end of the connection closes here, and the server ends with it.
}

TEST_F(QmpTest, AnOldQemuMigratesThroughAShell) {
  for (const char* version :
       {R"({"major":7,"minor":2,"micro":22})", R"({"major":8,"minor":2,"micro":0})"}) {
    const LateQemu qemu(socket(), 1, version);
    auto qmp = Qmp::connect(socket());
    ASSERT_TRUE(qmp) << qmp.error().message();
    const auto asked = qmp->migrate_to("/some/file");
    EXPECT_TRUE(asked) << asked.error().message();
    EXPECT_FALSE(qmp->migrate_to("/some/$file"));
    std::filesystem::remove(socket());
  }
}

TEST_F(QmpTest, AGreetingWithoutAVersionIsRefused) {
  const LateQemu qemu(socket(), 1, "7");
  EXPECT_FALSE(Qmp::connect(socket()));
}

}  // namespace
}  // namespace clonesafe::audit
