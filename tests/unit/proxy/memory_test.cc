// A clone's proxy that has no memory while it lets go of what is its parent's.
#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/child_process.h"
#include "tests/unit/proxy/failing_new.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/running_service.h"

namespace clonesafe::proxy {
namespace {

struct Words {
  Protocol protocol;
  const char* name;
  std::string request, reply;
};
const Words kWords[] = {{Protocol::kTcp, "Tcp", "q", "a"},
                        {Protocol::kHttp, "Http", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                         "HTTP/1.1 204 No Content\r\n\r\n"},
                        {Protocol::kRedis, "Redis", "PING\r\n", "+PONG\r\n"}};

class MemoryTest : public ProxyTest, public testing::WithParamInterface<Words> {
 protected:
  static void SetUpTestSuite() { enter_network(); }

  // So many sessions, with something under way but for one.
  void start(int sessions) {
    ends_.clear();
    int upstream_port = 0, port = 0;
    const UniqueFd upstream = listen_on(kFar, upstream_port);
    worker_.start({.name = "test", .protocol = words_.protocol}, kFar, upstream_port,
                  listen_on("127.0.0.1", port));
    for (int i = 0; i < sessions; ++i) {
      UniqueFd application = connect_to("127.0.0.1", port);
      send_all(application, words_.request);
      ends_.push_back({.application = std::move(application), .parents = accept_from(upstream)});
      EXPECT_EQ(receive(ends_.back().parents, words_.request.size()), words_.request);
    }
    send_all(ends_.back().parents, words_.reply);
    EXPECT_EQ(receive(ends_.back().application, words_.reply.size()), words_.reply);
  }
  // Not a byte, no end and no reset, also of what applications say now.
  void expect_silence() const {
    for (const Ends& ends : ends_) {
      [[maybe_unused]] const auto sent = ::send(ends.application.get(), words_.request.data(),
                                                words_.request.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    [[maybe_unused]] const auto served = worker_->census();
    for (const Ends& ends : ends_) EXPECT_TRUE(sees_nothing(ends.parents));
  }
  // Allocations on the way, until there are no more.
  void fail_each(std::size_t step, int sessions) {
    for (std::size_t number = 0;; number += step) {
      SCOPED_TRACE(number);
      start(sessions);
      {
        const FailingNew failing(number);
        clone_this_machine();
        worker_->fence();
      }
      expect_all_left();
      expect_silence();
      if (FailingNew::failures() == 0 || HasFailure()) return;
    }
  }
  void expect_all_left() const { EXPECT_EQ(worker_->tombstones().standing, ends_.size()); }

  struct Ends {
    UniqueFd application, parents;
  };
  const Words words_ = GetParam();
  std::vector<Ends> ends_;
  RunningService worker_;
};

TEST_P(MemoryTest, FenceThatIsOverHasLeftAllWhereverItFailed) {
  fail_each(1, 5);
}

// More than are fenced at once.
TEST_P(MemoryTest, FenceOfManySessionsThatIsOverHasLeftAllWhereverItFailed) {
  fail_each(29, 70);
}

TEST_P(MemoryTest, FenceIsNotOverBeforeThereIsMemory) {
  start(5);
  std::atomic<bool> over = false;
  std::thread fencing;
  {
    const FailingNew failing(0, FailingNew::kForEver);
    clone_this_machine();
    fencing = std::thread([&] {
      FailingNew::spare_this_thread();
      worker_->fence();
      over = true;
    });
    ASSERT_TRUE(
        support::eventually(std::chrono::seconds(20), [] { return FailingNew::failures() > 1; }));
    EXPECT_FALSE(over);
    for (const Ends& ends : ends_) EXPECT_TRUE(sees_nothing(ends.parents));
  }
  fencing.join();
  expect_all_left();
  expect_silence();
}

INSTANTIATE_TEST_SUITE_P(Protocols, MemoryTest, testing::ValuesIn(kWords),
                         [](const auto& words) { return words.param.name; });

}  // namespace
}  // namespace clonesafe::proxy
