#include "guest_agent/control/control_server.h"

#include <grp.h>
#include <sys/syscall.h>

#include <thread>

#include "guest_agent/core/event_loop.h"
#include "tests/unit/agent/loop_fixture.h"

namespace clonesafe::agent {
namespace {

class ControlServerTest : public LoopTest {
 protected:
  void open() {
    auto server =
        ControlServer::open(io_, path_, "",
                            [this](std::string_view request, const ControlServer::Client& client,
                                   ControlServer::Reply reply) {
                              requests_.emplace_back(request);
                              clients_.push_back(client);
                              replies_.push_back(std::move(reply));
                              if (!request.starts_with("later"))
                                replies_.back()({.line = "answer " + std::string(request)});
                            });
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
  }
  std::string exchange(const UniqueFd& client, const std::string& text, const std::string& end) {
    say(client, text);
    std::string answer;
    run_until([&] {
      answer += hear(client);
      return answer.ends_with(end);
    });
    return answer;
  }

  std::string path_ = folder_ / "agent.sock";
  std::unique_ptr<ControlServer> server_;
  std::vector<std::string> requests_;
  std::vector<ControlServer::Client> clients_;
  std::vector<ControlServer::Reply> replies_;
};

TEST_F(ControlServerTest, RequestsAreAnsweredLineByLine) {
  open();
  const UniqueFd client = connect_to(path_);
  EXPECT_EQ(exchange(client, "one\ntwo\n", "two\n"), "answer one\nanswer two\n");
}

TEST_F(ControlServerTest, ManyClientsAreServedAtOnce) {
  open();
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(connect_to(path_));
  for (const UniqueFd& client : clients) {
    EXPECT_EQ(exchange(client, "x\n", "x\n"), "answer x\n");
  }
}

TEST_F(ControlServerTest, EndlessRequestEndsTheConnection) {
  open();
  const UniqueFd client = connect_to(path_);
  say(client, std::string(8192, 'x'));
  bool closed = false;
  run_until([&] {
    hear(client, &closed);
    return closed;
  });
  EXPECT_TRUE(requests_.empty());
}

TEST_F(ControlServerTest, AnswerThatComesLaterHoldsUpNobodyElse) {
  open();
  const UniqueFd slow = connect_to(path_);
  say(slow, "later\n");
  run_until([&] { return requests_.size() == 1; });
  const UniqueFd other = connect_to(path_);
  EXPECT_EQ(exchange(other, "x\n", "x\n"), "answer x\n");
  EXPECT_EQ(hear(slow), "");
  replies_[0]({.line = "now"});
  EXPECT_EQ(exchange(slow, "", "now\n"), "now\n");
  EXPECT_EQ(clients_[0]->user(), ::getuid());
  EXPECT_EQ(clients_[0]->pid(), ::getpid());
}

TEST_F(ControlServerTest, FileTravelsWithTheAnswerToALiveClientAlone) {
  open();
  UniqueFd gone = connect_to(path_);
  const UniqueFd client = connect_to(path_);
  say(gone, "later 1\n");
  run_until([&] { return requests_.size() == 1; });
  say(client, "later 2\n");
  run_until([&] { return requests_.size() == 2; });
  gone.reset();
  for (const auto& reply : replies_) {
    UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    reply({.line = "here", .file = std::move(file)});
  }
  char text[16] = {};
  alignas(cmsghdr) char control[64] = {};
  iovec buffer = {.iov_base = text, .iov_len = sizeof text};
  msghdr message = {};
  message.msg_iov = &buffer;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  run_until([&] { return ::recvmsg(client.get(), &message, MSG_DONTWAIT) > 0; });
  EXPECT_STREQ(text, "here\n");
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  ASSERT_NE(header, nullptr);
  EXPECT_EQ(header->cmsg_type, SCM_RIGHTS);
  int file = -1;
  std::memcpy(&file, CMSG_DATA(header), sizeof file);
  EXPECT_EQ(UniqueFd(file).get() >= 0, true);
}

TEST_F(ControlServerTest, LinesThatNobodyAskedForComeInOrder) {
  open();
  const UniqueFd client = connect_to(path_);
  exchange(client, "x\n", "x\n");
  for (int i = 0; i < 10; ++i) clients_[0]->push("event " + std::to_string(i));
  EXPECT_EQ(exchange(client, "y\n", "y\n").substr(0, 16), "event 0\nevent 1\n");
}

TEST_F(ControlServerTest, OneThatReadsNothingIsDroppedAndItsEndIsTold) {
  open();
  const UniqueFd client = connect_to(path_);
  exchange(client, "x\n", "x\n");
  bool ended = false;
  clients_[0]->keep([&ended] { ended = true; });
  for (int i = 0; i < 5000 && !ended; ++i) {
    clients_[0]->push(std::string(4000, 'e'));
    io_.restart();
    io_.poll();
  }
  run_until([&] { return ended; });
  bool closed = false;
  run_until([&] {
    hear(client, &closed);
    return closed;
  });
}

TEST_F(ControlServerTest, ConnectionThatEndsIsTold) {
  open();
  UniqueFd client = connect_to(path_);
  exchange(client, "x\n", "x\n");
  bool ended = false;
  clients_[0]->keep([&ended] { ended = true; });
  client.reset();
  run_until([&] { return ended; });
}

TEST_F(ControlServerTest, RootAndTheAgentsOwnUserMayDriveOthersInTheGroupOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: only root can become somebody else";
  const auto drives = [this](const std::string& group, gid_t other) {
    auto server = ControlServer::open(io_, path_, group,
                                      [this](std::string_view, const ControlServer::Client& client,
                                             const ControlServer::Reply& reply) {
                                        clients_.push_back(client);
                                        reply({.line = client->may_drive() ? "yes" : "no"});
                                      });
    EXPECT_TRUE(server);
    std::filesystem::permissions(folder_ / "", std::filesystem::perms(0755));
    UniqueFd client;
    // Threads have their own: this one is somebody else while it connects.
    std::thread([&] {
      ::syscall(SYS_setgroups, 1, &other);
      ::syscall(SYS_setresuid, 12345, 12345, 12345);
      client = connect_to(path_);
    }).join();
    const std::string answer = exchange(client, "x\n", "\n");
    clients_.clear();
    return answer;
  };
  const group* const adm = ::getgrnam("adm");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_NE(adm, nullptr);
  const gid_t member = adm->gr_gid;
  EXPECT_EQ(drives("adm", member), "yes\n");
  EXPECT_EQ(drives("adm", member + 1), "no\n");
  EXPECT_EQ(drives("", member), "no\n");
  EXPECT_EQ(drives("no-such-group", member), "no\n");
}

TEST_F(ControlServerTest, SocketOfAnEarlierAgentIsReplaced) {
  open();
  server_.reset();
  open();
  const UniqueFd client = connect_to(path_);
  EXPECT_EQ(exchange(client, "x\n", "x\n"), "answer x\n");
}

TEST_F(ControlServerTest, FileInItsPlaceIsNotRemoved) {
  folder_.write("agent.sock", "precious");
  auto server = ControlServer::open(
      io_, path_, "",
      [](std::string_view, const ControlServer::Client&, const ControlServer::Reply&) {});
  ASSERT_FALSE(server);
  EXPECT_EQ(folder_.read("agent.sock"), "precious");
}

// A source whose descriptor the test makes readable.
class PipeSource : public Source {
 public:
  explicit PipeSource(int fd) : fd_(fd) {}
  std::string_view name() const override { return "pipe"; }
  Status read(Words&) override { return {}; }
  int wake_fd() const override { return fd_; }
  Status drain() override {
    if (broken) return fail("broken");
    char byte = 0;
    if (::read(fd_, &byte, 1) < 0) return fail_errno("read");
    return {};
  }
  bool broken = false;

 private:
  int fd_;
};

class WakesTest : public LoopTest {
 protected:
  WakesTest() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    read_end_.reset(ends[0]);
    write_end_.reset(ends[1]);
  }
  void start(bool with_pipe) {
    if (with_pipe) {
      auto source = std::make_unique<PipeSource>(read_end_.get());
      source_ = source.get();
      sources_.add(std::move(source));
    }
    wakes_ = std::make_unique<Wakes>(
        io_, sources_,
        Wakes::Options{.poll_interval = std::chrono::milliseconds(1),
                       .other_wake = [this] { return connected_; },
                       .look = [this](std::string_view name) { looks_.emplace_back(name); }});
    wakes_->start();
  }
  void wake() { EXPECT_EQ(::write(write_end_.get(), "x", 1), 1); }

  UniqueFd read_end_;
  UniqueFd write_end_;
  SourceSet sources_;
  PipeSource* source_ = nullptr;
  bool connected_ = false;
  std::vector<std::string> looks_;
  std::unique_ptr<Wakes> wakes_;
};

TEST_F(WakesTest, ReadableDescriptorMakesTheAgentLookEachTime) {
  start(true);
  EXPECT_FALSE(wakes_->polls());
  for (std::size_t i = 1; i <= 3; ++i) {
    wake();
    run_until([this, i] { return looks_.size() == i; });
    EXPECT_EQ(looks_.back(), "pipe");
  }
}

TEST_F(WakesTest, NothingIsPolledWhileAWakeIsLive) {
  start(true);
  io_.run_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(looks_.empty());
}

TEST_F(WakesTest, WithoutAnyWakeTheWordsArePolled) {
  start(false);
  EXPECT_TRUE(wakes_->polls());
  run_until([this] { return looks_.size() >= 3; });
  EXPECT_EQ(looks_.back(), "poll");
}

TEST_F(WakesTest, ConnectionThatWakesEndsThePollingAndItsLossResumesIt) {
  start(false);
  run_until([this] { return !looks_.empty(); });
  connected_ = true;
  wakes_->reconsider();
  const std::size_t before = looks_.size();
  io_.restart();
  io_.run_for(std::chrono::milliseconds(20));
  EXPECT_EQ(looks_.size(), before);
  connected_ = false;
  wakes_->reconsider();
  run_until([this, before] { return looks_.size() > before; });
}

TEST_F(WakesTest, SourceThatStopsWakingIsReplacedByPolling) {
  start(true);
  source_->broken = true;
  wake();
  run_until([this] { return looks_.size() >= 3; });
  EXPECT_TRUE(wakes_->polls());
}

}  // namespace
}  // namespace clonesafe::agent
