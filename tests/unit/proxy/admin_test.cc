// What operators ask a proxy, by its control socket.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <spdlog/spdlog.h>

#include <boost/json.hpp>
#include <sstream>

#include "proxy/admin/call.h"
#include "proxy/ctl/tables.h"
#include "tests/unit/proxy/captured_log.h"
#include "tests/unit/proxy/program_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;
namespace json = boost::json;

std::string why_refused(const json::object& request) {
  const auto call = parse_call(request);
  return call ? "it is not" : call.error().message();
}

TEST(AdminCall, IsOneThatIsKnown) {
  EXPECT_EQ(parse_call({{"call", "fence"}})->kind, CallKind::kFence);
  const auto drain = parse_call({{"call", "drain"}, {"grace_ms", 1'500}});
  ASSERT_TRUE(drain);
  EXPECT_EQ(drain->grace, std::chrono::milliseconds(1'500));
  EXPECT_THAT(why_refused({}), HasSubstr("there is no \"call\""));
  EXPECT_THAT(why_refused({{"call", "explode"}}), HasSubstr("known: status, sessions"));
}

TEST(AdminCall, HasNoMembersButItsOwn) {
  EXPECT_THAT(why_refused({{"call", "pause"}, {"grace_ms", 1}}), HasSubstr("does not have"));
  EXPECT_THAT(why_refused({{"call", "drain"}, {"grace_ms", -1}}), HasSubstr("from 0 to 86400000"));
  EXPECT_THAT(why_refused({{"call", "sessions"}, {"limit", 1'001}}), HasSubstr("from 1 to 1000"));
}

class AdminTest : public ProgramTest {};

TEST_F(AdminTest, SocketIsItsOwnersAlone) {
  start();
  struct stat status{};
  ASSERT_EQ(::stat(control().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  end();
  EXPECT_NE(::stat(control().c_str(), &status), 0) << "it is left behind";
}

TEST_F(AdminTest, SocketOfAProxyThatDiedIsReplaced) {
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    control().copy(address.sun_path, sizeof address.sun_path - 1);
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  start();
  EXPECT_TRUE(ask({{"call", "status"}}));
}

TEST_F(AdminTest, SessionsAreListed) {
  start();
  const auto first = session();
  const auto second = session();
  const auto answer = ask({{"call", "sessions"}, {"limit", 1}});
  ASSERT_TRUE(answer) << answer.error().message();
  ASSERT_EQ(answer->at("sessions").as_array().size(), 1U);
  EXPECT_EQ(answer->at("left_off").to_number<int>(), 1);
  const json::object& one = answer->at("sessions").as_array()[0].as_object();
  EXPECT_EQ(one.at("service"), "test");
  EXPECT_EQ(one.at("from_application").to_number<int>(), 1);
  EXPECT_EQ(one.at("to_application").to_number<int>(), 1);
  EXPECT_EQ(one.at("upstream").as_string(), kFar + (":" + std::to_string(upstream_port_)));
  EXPECT_THAT(sessions_table(*answer), HasSubstr("and 1 more"));
}

TEST_F(AdminTest, UpstreamsAndMetricsCountWhatHappened) {
  start("", "on_clone = \"reopen\"");
  const auto [application, upstream] = session();
  clone_this_machine();
  ASSERT_TRUE(ask({{"call", "fence"}}));
  send_all(application, "more");
  const UniqueFd fresh = accept_from(upstream_);
  EXPECT_EQ(receive(fresh, 4), "more");
  EXPECT_TRUE(sees_nothing(upstream)) << "the parent's peer was told";
  const std::string text = metrics();
  const std::string service = "{service=\"test\"";
  EXPECT_THAT(text, HasSubstr("clonesafe_proxy_sessions" + service + "} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafe_proxy_fenced_total" + service + "} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafe_proxy_reopened_total" + service + "} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafe_proxy_tombstones 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafe_proxy_stale_segments_dropped_total 0\n"));
  EXPECT_THAT(text, HasSubstr("clonesafe_proxy_abandoned_connections_total" + service +
                              ",how=\"silent\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafe_proxy_upstream_connect_seconds_bucket" + service +
                              ",le=\"+Inf\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("clonesafe_proxy_upstream_bytes_total" + service +
                              ",direction=\"written\"} 5\n"));
  const auto upstreams = ask({{"call", "upstreams"}});
  ASSERT_TRUE(upstreams);
  EXPECT_EQ(upstreams->at("upstreams").at(0).at("connects").to_number<int>(), 2);
  EXPECT_EQ(upstreams->at("upstreams").at(0).at("connections").to_number<int>(), 1);
}

TEST_F(AdminTest, PausedNothingIsPassedOnAndNothingIsClosed) {
  start();
  const auto [application, upstream] = session();
  ASSERT_TRUE(ask({{"call", "pause"}}));
  send_all(application, "later");
  // What the upstream sends goes on, and tells that the proxy has had its turn.
  send_all(upstream, "now");
  EXPECT_EQ(receive(application, 3), "now");
  EXPECT_TRUE(sees_nothing(upstream));
  const auto status = ask({{"call", "status"}});
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->at("paused").as_bool());
  EXPECT_TRUE(sees_nothing(upstream));
  ASSERT_TRUE(ask({{"call", "resume"}}));
  EXPECT_EQ(receive(upstream, 5), "later");
}

TEST_F(AdminTest, DrainedItEndsWithItsLastSession) {
  start();
  {
    const auto [application, upstream] = session();
    ASSERT_TRUE(ask({{"call", "drain"}}));
    UniqueFd refused(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_NE(::connect(refused.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    send_all(application, "on");
    EXPECT_EQ(receive(upstream, 2), "on");
  }
  wait_for_end();
}

TEST_F(AdminTest, DrainsGraceEndsThoseThatStay) {
  start();
  const auto [application, upstream] = session();
  ASSERT_TRUE(ask({{"call", "drain"}, {"grace_ms", 0}}));
  EXPECT_NE(wait_for_news(application), Seen::kBytes);
  wait_for_end();
}

TEST_F(AdminTest, ReloadKeepsSessionsAndListensAllTheTime) {
  start();
  const auto [application, upstream] = session();
  int other_port = 0;
  const UniqueFd other = listen_on(kFar, other_port);
  std::swap(upstream_port_, other_port);
  write("", "");
  ASSERT_TRUE(ask({{"call", "reload"}}));
  send_all(application, "old");
  EXPECT_EQ(receive(upstream, 3), "old");
  const UniqueFd next = this->application();
  const UniqueFd fresh = accept_from(other);
  send_all(next, "new");
  EXPECT_EQ(receive(fresh, 3), "new");
  // Of both configurations.
  EXPECT_THAT(metrics(), HasSubstr("clonesafe_proxy_accepted_total{service=\"test\"} 2\n"));
  EXPECT_THAT(metrics(), HasSubstr("clonesafe_proxy_sessions{service=\"test\"} 2\n"));
}

TEST_F(AdminTest, ReloadOfAnAddressThatIsGoneEndsListening) {
  start();
  int old_port = std::exchange(port_, 0);
  listen_on("127.0.0.1", port_).reset();
  write("", "");
  ASSERT_TRUE(ask({{"call", "reload"}}));
  listen_on("127.0.0.1", old_port).reset();
  const UniqueFd application = this->application();
  accept_from(upstream_);
}

TEST_F(AdminTest, ReloadThatIsRefusedChangesNothing) {
  start();
  write("threads = 2", "");
  const auto threads = ask({{"call", "reload"}});
  ASSERT_FALSE(threads);
  EXPECT_THAT(threads.error().message(), HasSubstr("'threads' is another one"));
  write("nonsense = 1", "");
  const auto refused = ask({{"call", "reload"}});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("nonsense"));
  const auto [application, upstream] = session();
  EXPECT_THAT(metrics(), HasSubstr("clonesafe_proxy_reloads_total{result=\"refused\"} 2\n"));
}

TEST_F(AdminTest, AccessLogHasALineForEachSession) {
  const CapturedLog log;
  start("", "access_log = true");
  spdlog::set_level(spdlog::level::info);
  {
    const auto ends = session();
  }
  while (ask({{"call", "status"}})->at("sessions").to_number<int>() != 0) std::this_thread::yield();
  end();
  EXPECT_THAT(log.text(), HasSubstr("access: service=test from=127.0.0.1:"));
  EXPECT_THAT(log.text(), HasSubstr("from_application=1 to_application=1 ms="));
  EXPECT_THAT(log.text(), HasSubstr("end=\"ended\""));
}

}  // namespace
}  // namespace clonesafe::proxy
