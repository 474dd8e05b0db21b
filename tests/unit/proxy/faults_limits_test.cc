// A proxy that may have no more: descriptors, memory.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "proxy/core/tombstones.h"
#include "tests/unit/proxy/faulty_server.h"
#include "tests/unit/proxy/program_fixture.h"
#include "tests/unit/proxy/running_service.h"

namespace clonesafe::proxy {
namespace {

#ifdef SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
// It looks by a pipe whether there is memory where an object should be.
constexpr const char* kUbsanNeedsDescriptors = "UBSan takes what it can't look at for an error";

std::size_t count_of(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
    ++count;
  return count;
}

class FaultsLimitsTest : public ProcessTest {
 protected:
  static bool is_served(TokenPeer& peer, const TokenLanguage& language, const std::string& token) {
    if (!peer.say(language.request(token))) return false;
    const auto answer = language.answer(peer);
    return answer && answer->token == token;
  }
  bool ends_up_with(std::uint64_t sessions) const {
    return support::eventually(std::chrono::seconds(20), [&] {
      const auto status = ask({{"call", "status"}});
      return status && status->at("sessions").to_number<std::uint64_t>() == sessions;
    });
  }

  std::vector<UniqueFd> crowd_;
};

TEST_F(FaultsLimitsTest, WithoutDescriptorsItServesThoseThatItHasAndSaysSoOnce) {
  if (kSanitized) GTEST_SKIP() << kUbsanNeedsDescriptors;
  const auto language = TokenLanguage::of(Protocol::kTcp);
  FaultyServer server(*language, 0, false);
  server.heal();
  upstream_port_ = server.port();
  log_level_ = "warning";
  start_process("", "hold_ms = 300", [] {
    const rlimit few{.rlim_cur = 48, .rlim_max = 48};
    ::setrlimit(RLIMIT_NOFILE, &few);
  });
  TokenPeer first(application());
  EXPECT_TRUE(is_served(first, *language, "r1"));
  for (int i = 0; i < 60; ++i) crowd_.push_back(application());
  EXPECT_TRUE(support::eventually(std::chrono::seconds(20), [this] {
    return count_of(log(), "accept: Too many open files") != 0;
  })) << log();
  EXPECT_TRUE(is_served(first, *language, "r2"));
  crowd_.clear();
  TokenPeer next(application());
  EXPECT_TRUE(is_served(next, *language, "r3"));
  EXPECT_TRUE(is_served(first, *language, "r4"));
  EXPECT_EQ(count_of(log(), "accept: "), 1u) << log();
  end_process();
}

// The kernel's limit of a process's own memory, which is what malloc(3) is refused by.
TEST_F(FaultsLimitsTest, WithoutMemoryItServesThoseThatItHasAndOthersAfterwards) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer ends a process that is out of memory";
  start_process("", "protocol = \"http\"\nhold_ms = 300\nhttp.request_timeout_ms = 60000");
  const std::string request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const UniqueFd first = application();
  send_all(first, request);
  const UniqueFd upstream = accept_from(upstream_);
  const auto exchange = [&](const UniqueFd& from) {
    EXPECT_EQ(receive(upstream, request.size()), request);
    const std::string response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    send_all(upstream, response);
    EXPECT_EQ(receive(from, response.size()), response) << log();
  };
  exchange(first);
  std::ifstream status("/proc/" + std::to_string(process_->pid()) + "/status");
  rlim_t data = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmData:")) data = std::stoul(line.substr(7)) * 1024;
  }
  ASSERT_NE(data, 0u);
  const rlim_t most = data + (4u << 20);
  const rlimit limit{.rlim_cur = most, .rlim_max = most};
  ASSERT_EQ(::prlimit(process_->pid(), RLIMIT_DATA, &limit, nullptr), 0);
  // Heads that aren't whole.
  const std::string begin = "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(30'000, 'x');
  for (int i = 0; i < 600; ++i) {
    crowd_.push_back(application());
    [[maybe_unused]] const auto sent =
        ::send(crowd_.back().get(), begin.data(), begin.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  EXPECT_TRUE(support::eventually(std::chrono::seconds(20), [this] {
    return log().find("std::bad_alloc") != std::string::npos;
  }));
  EXPECT_TRUE(process_->running());
  send_all(first, request);
  exchange(first);
  crowd_.clear();
  EXPECT_TRUE(ends_up_with(1)) << log();
  const UniqueFd next = application();
  send_all(next, request);
  exchange(next);
  end_process();
}

// This process may have no more, until it is destroyed.
class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit few{.rlim_cur = 256, .rlim_max = before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    take_all();
  }
  ~NoDescriptors() {
    all_.clear();
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0);
  }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;
  void free_one() { all_.pop_back(); }
  void take_all() {
    while (UniqueFd one{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)}) all_.push_back(std::move(one));
  }

 private:
  rlimit before_{};
  std::vector<UniqueFd> all_;
};

// What replaces a stale connection takes a descriptor more for a moment.
class FaultsTombstoneTest : public ProxyTest, public testing::WithParamInterface<Opener> {
 protected:
  static void SetUpTestSuite() { enter_network(); }
};

TEST_P(FaultsTombstoneTest, StandsAlsoWhereThereIsNoDescriptorLeft) {
  if (kSanitized) GTEST_SKIP() << kUbsanNeedsDescriptors;
  int port = 0;
  const UniqueFd listener = listen_on(kFar, port);
  std::array<UniqueFd, 2> clients, servers;
  for (std::size_t i = 0; i < clients.size(); ++i) {
    clients[i] = connect_to(kFar, port);
    servers[i] = accept_from(listener);
  }
  auto& stale = GetParam() == Opener::kThisEnd ? clients : servers;
  const auto& peers = GetParam() == Opener::kThisEnd ? servers : clients;
  Tombstones tombstones(4);
  {
    NoDescriptors none;
    tombstones.bury(stale[0].release(), GetParam());
    none.take_all();
    tombstones.bury(stale[1].release(), GetParam());
  }
  EXPECT_EQ(tombstones.counts().standing, 2u);
  for (const UniqueFd& peer : peers) send_all(peer, "anything");
  for (const UniqueFd& peer : peers) EXPECT_TRUE(sees_nothing(peer));
  EXPECT_TRUE(support::eventually(std::chrono::seconds(20),
                                  [&] { return tombstones.counts().dropped >= 2; }));
}

class FaultsWaitingTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { enter_network(); }
};

// It can't be accepted when the machine is cloned, and later it can.
TEST_F(FaultsWaitingTest, ApplicationFromAnotherMachineThatWaitsForADescriptorIsLeftToo) {
  if (kSanitized) GTEST_SKIP() << kUbsanNeedsDescriptors;
  int upstream_port = 0, port = 0;
  const UniqueFd upstream = listen_on(kFar, upstream_port);
  RunningService worker;
  worker.start({.name = "test"}, kFar, upstream_port, listen_on(kFar, port));
  UniqueFd far;
  {
    NoDescriptors none;
    none.free_one();
    far = connect_to(kFar, port);
    clone_this_machine();
    worker->fence();
  }
  send_all(far, "q");
  EXPECT_TRUE(support::eventually(std::chrono::seconds(20),
                                  [&] { return worker->tombstones().standing == 1; }));
  EXPECT_TRUE(sees_nothing(upstream)) << "it was served";
  EXPECT_TRUE(sees_nothing(far));
  // Those that come when nobody is waiting any more are this machine's.
  std::vector<UniqueFd> later;
  EXPECT_TRUE(support::eventually(std::chrono::seconds(20), [&] {
    later.push_back(connect_to(kFar, port));
    worker->fence();
    return !sees_nothing(upstream);
  }));
}

INSTANTIATE_TEST_SUITE_P(Openers, FaultsTombstoneTest,
                         testing::Values(Opener::kThisEnd, Opener::kPeer), [](const auto& param) {
                           return param.param == Opener::kThisEnd ? "ThisEnd" : "Peer";
                         });

}  // namespace
}  // namespace clonesafe::proxy
