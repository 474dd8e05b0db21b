// Transparent services between two machines, over both families: applications are in the guest,
// their upstreams are peers.
#include "proxy/service/diverted.h"
#include "tests/unit/proxy/nftables.h"
#include "tests/unit/proxy/running_service.h"
#include "tests/unit/proxy/wire_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::IsEmpty;

class WireTransparentTest : public WireTest,
                            public testing::WithParamInterface<std::tuple<Transparent, bool>> {
 protected:
  static Transparent kind() { return std::get<0>(GetParam()); }
  static std::string peer_host() { return std::get<1>(GetParam()) ? Wire::kPeer6 : Wire::kPeer4; }
  static std::string loopback() { return std::get<1>(GetParam()) ? "::1" : "127.0.0.1"; }
  ~WireTransparentTest() override { remove_rules(kind()); }

  void start() {
    upstream_ = wire_.at_peer([&] { return listen_at_host(peer_host(), upstream_port_); });
    UniqueFd listener = listen_at_host(loopback(), port_);
    if (kind() == Transparent::kTproxy) {
      ASSERT_TRUE(make_transparent(listener.get()));
    }
    ServiceConfig config{.name = "test", .on_clone = OnClone::kReopen};
    config.listen = {{.host = loopback(), .port = static_cast<std::uint16_t>(port_), .path = {}}};
    config.transparent = kind();
    config.destinations = {Network::parse(peer_host()).value()};
    config.upstream.mark = kMark;
    worker_.serve(config, std::move(listener));
    install({.kind = kind(),
             .networks = Wire::kPeer4,
             .networks6 = Wire::kPeer6,
             .ports = {{.port = upstream_port_, .listener = port_}},
             .mark = kMark});
  }

  static constexpr std::uint32_t kMark = 0xc5;
  UniqueFd upstream_;
  int upstream_port_ = 0, port_ = 0;
  RunningService worker_;
};

TEST_P(WireTransparentTest, GoesOnInACloneOverAConnectionOfItsOwn) {
  start();
  const UniqueFd application = connect_to_host(peer_host(), upstream_port_);
  const UniqueFd parents = accept_from(upstream_);
  const auto port = static_cast<std::uint16_t>(peer_port(parents));
  EXPECT_NE(port, own_port(application)) << "it did not come to the proxy";
  send_all(application, "q");
  EXPECT_EQ(receive(parents, 1), "q");
  send_all(parents, "a");
  EXPECT_EQ(receive(application, 1), "a");
  clone_this_machine();
  worker_->fence();
  const std::size_t mark = wire_.mark();
  send_all(parents, "more");
  send_all(application, "on");
  const UniqueFd fresh = accept_from(upstream_);
  EXPECT_EQ(receive(fresh, 2), "on");
  send_all(fresh, "yes");
  EXPECT_EQ(receive(application, 3), "yes");
  EXPECT_THAT(said_until_now(port, mark), IsEmpty());
  // Nor is anything said for the application's own connection, which is within the guest.
  EXPECT_THAT(said_until_now(own_port(application), 0), IsEmpty());
  EXPECT_EQ(error_of(parents), 0);
}

// One whose end waits for an acknowledgement belongs to no process any more, and has its mark.
TEST_P(WireTransparentTest, EndOfAConnectionComesToTheUpstream) {
  start();
  UniqueFd application = connect_to_host(peer_host(), upstream_port_);
  const UniqueFd upstream = accept_from(upstream_);
  const auto port = static_cast<std::uint16_t>(peer_port(upstream));
  send_all(application, "q");
  EXPECT_EQ(receive(upstream, 1), "q");
  ::shutdown(upstream.get(), SHUT_WR);
  EXPECT_EQ(wait_for_news(application), Seen::kEnd);
  const std::size_t mark = wire_.mark();
  wire_.lose([](const Segment& segment) { return segment.from_guest; });
  application.reset();
  // Lost, and sent again when the proxy has closed its socket.
  EXPECT_TRUE(wire_.wait_for(
      [&, count = 0](const Segment& seen) mutable {
        return seen.from_guest && seen.source == port && seen.fin() && ++count == 3;
      },
      mark));
  wire_.lose(nullptr);
  EXPECT_EQ(wait_for_news(upstream), Seen::kEnd);
}

INSTANTIATE_TEST_SUITE_P(Kinds, WireTransparentTest,
                         testing::Combine(testing::Values(Transparent::kRedirect,
                                                          Transparent::kTproxy),
                                          testing::Bool()),
                         [](const auto& kind) {
                           return std::string(std::get<0>(kind.param) == Transparent::kRedirect
                                                  ? "Redirect"
                                                  : "Tproxy") +
                                  (std::get<1>(kind.param) ? "Ipv6" : "Ipv4");
                         });

}  // namespace
}  // namespace clonesafe::proxy
