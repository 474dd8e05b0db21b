// An announced snapshot, as the library's hooks tell of it.
#include <boost/json.hpp>

#include "clonesafe/hooks.h"
#include "tests/unit/proxy/program_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;

class ParkTest : public ProgramTest {
 protected:
  // What the hook before the snapshot said.
  static std::string detail() {
    std::array<cs_hook_report, 8> reports{};
    const int count = cs_hooks_report(reports.data(), sizeof reports[0], reports.size());
    for (int i = 0; i < count; ++i) {
      const cs_hook_report& report = reports[static_cast<std::size_t>(i)];
      if (report.phase == CS_PHASE_BEFORE_SNAPSHOT) return report.detail;
    }
    return "";
  }
  bool parked() { return ask({{"call", "status"}})->at("parked").as_bool(); }
};

TEST_F(ParkTest, NothingIsSentOrClosedUntilItIsOver) {
  start();
  const auto [application, upstream] = session();
  EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK);
  EXPECT_TRUE(parked());
  send_all(application, "later");
  const UniqueFd next = this->application();
  send_all(upstream, "now");
  EXPECT_EQ(receive(application, 3), "now");
  EXPECT_TRUE(parked());
  EXPECT_TRUE(sees_nothing(upstream));
  EXPECT_TRUE(sees_nothing(upstream_)) << "a connection was opened";
  // It wasn't taken, or this is its source.
  EXPECT_EQ(cs_after_restore(), CS_HOOK_OK);
  EXPECT_FALSE(parked());
  EXPECT_EQ(receive(upstream, 5), "later");
  accept_from(upstream_);
}

TEST_F(ParkTest, CloneGoesOnWithAnotherConnection) {
  start("", "on_clone = \"reopen\"");
  const auto [application, upstream] = session();
  EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK);
  send_all(application, "later");
  clone_this_machine();
  EXPECT_EQ(cs_after_restore(), CS_HOOK_OK);
  const UniqueFd fresh = accept_from(upstream_);
  EXPECT_EQ(receive(fresh, 5), "later");
  EXPECT_TRUE(sees_nothing(upstream));
}

TEST_F(ParkTest, ClosedWithAGoodbyeWhenNothingIsUnderWay) {
  start("park = \"close\"", "on_clone = \"reopen\"");
  const auto [application, upstream] = session();
  EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK);
  EXPECT_EQ(wait_for_news(upstream), Seen::kEnd);
  EXPECT_THAT(metrics(), HasSubstr("clonesafe_proxy_upstream_connections{service=\"test\"} 0\n"));
  EXPECT_TRUE(sees_nothing(application));
  send_all(application, "later");
  EXPECT_TRUE(parked());
  EXPECT_TRUE(sees_nothing(upstream_)) << "a connection was opened";
  EXPECT_EQ(cs_after_restore(), CS_HOOK_OK);
  const UniqueFd fresh = accept_from(upstream_);
  EXPECT_EQ(receive(fresh, 5), "later");
}

TEST_F(ParkTest, SnapshotIsRefusedWhileSomethingIsUnderWay) {
  start("park = \"close\"\npark_deadline_ms = 50", "on_clone = \"reopen\"");
  const auto [application, upstream] = session();
  send_all(application, "question");
  EXPECT_EQ(receive(upstream, 8), "question");
  EXPECT_EQ(cs_before_snapshot(), CS_HOOK_FAIL_CLOSED);
  EXPECT_EQ(detail(), "test: 0 closed, 1 busy");
  EXPECT_FALSE(parked());
  send_all(upstream, "answer");
  EXPECT_EQ(receive(application, 6), "answer");
  EXPECT_EQ(cs_after_restore(), CS_HOOK_OK);
}

TEST_F(ParkTest, WaitsForWhatIsUnderWay) {
  start("park = \"close\"\npark_deadline_ms = 20000", "on_clone = \"reopen\"");
  const auto [application, upstream] = session();
  send_all(application, "question");
  EXPECT_EQ(receive(upstream, 8), "question");
  std::thread announces([] { EXPECT_EQ(cs_before_snapshot(), CS_HOOK_OK); });
  while (!parked()) std::this_thread::yield();
  send_all(upstream, "answer");
  EXPECT_EQ(receive(application, 6), "answer");
  EXPECT_EQ(wait_for_news(upstream), Seen::kEnd);
  announces.join();
  EXPECT_EQ(cs_after_restore(), CS_HOOK_OK);
}

TEST(ParkReport, NamesEachUpstream) {
  ServiceCensus cache{.name = "cache"}, store{.name = "store"};
  cache.upstreams.open = 3;
  store.upstreams.open = 2;
  const std::vector<ServiceCensus> before = {cache, store};
  EXPECT_EQ(parking_report(before, before, Park::kKeep), "cache: 3 kept; store: 2 kept");
  cache.upstreams.open = 0;
  store.upstreams.open = 1;
  EXPECT_EQ(parking_report(before, {cache, store}, Park::kClose),
            "cache: 3 closed; store: 1 closed, 1 busy");
}

}  // namespace
}  // namespace clonesafe::proxy
