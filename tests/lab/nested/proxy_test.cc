// clonesafe-proxy in a guest that is cloned, with TLS to an upstream on the host's side of its tap:
// an application that has one connection to it goes on in the source and in every clone; nothing of
// the source's TLS session leaves a clone, and each clone has a session of its own.
#include <boost/json/parse.hpp>
#include <fstream>
#include <map>
#include <set>

#include "tests/lab/nested/clone_fixture.h"
#include "tests/lab/nested/host_network.h"
#include "tests/lab/nested/segments.h"
#include "tests/lab/nested/tls_pings.h"
#include "tests/support/certificate.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

const std::string kUp = "ip link set lo up; " + HostNetwork::kGuestUp;
// An emulated processor is slow.
const std::string kProxyConfig = std::string(
                                     "park_deadline_ms = 20000\n"
                                     "[[service]]\n"
                                     "name = \"pings\"\n"
                                     "protocol = \"redis\"\n"
                                     "listen = \"127.0.0.1:7000\"\n"
                                     "hold_ms = 60000\n"
                                     "[service.upstream]\n"
                                     "address = \"") +
                                 HostNetwork::kHost + ":" + std::to_string(TlsPings::kPort) +
                                 "\"\n"
                                 "connect_timeout_ms = 30000\n"
                                 "[service.upstream.tls]\n"
                                 "ca_file = \"/run/ca.pem\"\n"
                                 "server_name = \"pings.test\"\n";
// One connection for life: what was answered last is in /run/answered.
const std::string kApplication =
    "import os, socket, time\n"
    "stream = socket.socket()\n"
    "stream.connect(('127.0.0.1', 7000))\n"
    "answers = stream.makefile('rb')\n"
    "number = 0\n"
    "while True:\n"
    "    number += 1\n"
    "    stream.sendall(b'PING %d\\r\\n' % number)\n"
    "    size = answers.readline()\n"
    "    text = answers.readline()\n"
    "    if text.strip() != b'%d' % number:\n"
    "        open('/run/wrong', 'w').write('%r %r after %d' % (size, text, number))\n"
    "        break\n"
    "    open('/run/answered.new', 'w').write('%d' % number)\n"
    "    os.rename('/run/answered.new', '/run/answered')\n"
    "    time.sleep(0.02)\n";

std::vector<Segment> segments_from(const std::vector<Captured>& captured, std::uint16_t port) {
  std::vector<Segment> segments = segments_of(captured);
  std::erase_if(segments, [port](const Segment& segment) { return segment.source != port; });
  return segments;
}

class ProxyTest : public CloneTest {
 protected:
  struct Side {
    HostNetwork network;
    std::unique_ptr<TlsPings> server;
  };
  std::optional<Side> side(const std::string& name) {
    fs::create_directories(scratch_ / "files");
    if (!fs::exists(scratch_ / "pings.test.pem")) {
      const auto made = support::make_certificate(scratch_ / "", "pings.test");
      EXPECT_TRUE(made) << made.error().message();
    }
    auto network = HostNetwork::make("proxy-" + name, scratch_ / "files");
    if (!network) return std::nullopt;
    auto server = TlsPings::start(network->name(), scratch_ / "pings.test");
    EXPECT_TRUE(server) << server.error().message();
    if (!server) return std::nullopt;
    return Side{.network = std::move(*network), .server = std::move(*server)};
  }
  static std::uint64_t answered(const Guest& guest) {
    EXPECT_EQ(guest.get("cat /run/wrong 2>/dev/null || true"), "");
    const std::string number = guest.get("cat /run/answered 2>/dev/null || echo 0");
    return std::stoull(number);
  }
  static bool goes_on(const Guest& guest) {
    const std::uint64_t before = answered(guest);
    return eventually(Seconds(90), [&] { return answered(guest) > before + 5; });
  }
};

TEST_F(ProxyTest, ApplicationsGoOnAndClonesHaveSessionsOfTheirOwn) {
  auto source = side("source");
  auto first = side("cs1");
  auto second = side("cs2");
  auto free = side("free1");
  ASSERT_TRUE(source && first && second && free);
  BootOptions options{.cmdline = kNoProbes};
  options.arguments = {"--net", std::string("tap=") + HostNetwork::kTap +
                                    ",mac=52:54:00:00:00:01,netns=" + source->network.name()};
  const auto vm = boot(options);
  ASSERT_TRUE(vm);
  const Guest guest = vm->guest();
  guest.get(kUp);
  guest.put(read_file(scratch_ / "pings.test.pem"), "/run/ca.pem");
  guest.put(kProxyConfig, "/run/proxy.toml");
  guest.put(kApplication, "/run/application.py");
  guest.get("clonesafe-proxy --config /run/proxy.toml --check");
  guest.get("clonesafe-proxy --config /run/proxy.toml </dev/null >/run/proxy.log 2>&1 &");
  ASSERT_TRUE(eventually(Seconds(60), [&] {
    return guest.get("cat /run/proxy.log").find("serving") != std::string::npos;
  })) << guest.get("cat /run/proxy.log");
  guest.get("python3 /run/application.py </dev/null >/run/application.log 2>&1 &");
  ASSERT_TRUE(goes_on(guest)) << guest.get("cat /run/proxy.log /run/application.log");
  const auto parents = source->server->clients();
  ASSERT_EQ(parents.size(), 1u);

  ASSERT_EQ(guest.snapshot(scratch_ / "snapshot", {"--resume"})->status, 0);
  const std::string names = first->network.name().substr(0, first->network.name().size() - 1);
  auto restored =
      Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 2,
                        {"--timeout", "110", "--wait", "safe", "--hold-network", "--net",
                         std::string("tap=") + HostNetwork::kTap + ",netns=" + names + "%d"});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);
  std::set<std::string> randoms = {parents[0].random};
  std::set<std::uint16_t> ports = {parents[0].port};
  const Side* const sides[2] = {&*first, &*second};
  for (int clone = 1; clone <= 2; ++clone) {
    SCOPED_TRACE(clone);
    const Guest in_clone = restored->guest(clone);
    EXPECT_TRUE(goes_on(in_clone)) << in_clone.get("cat /run/proxy.log /run/application.log");
    const auto clients = sides[clone - 1]->server->clients();
    ASSERT_GE(clients.size(), 1u);
    for (const auto& client : clients) {
      randoms.insert(client.random);
      ports.insert(client.port);
    }
  }
  EXPECT_GE(randoms.size(), 3u) << "two clones began their sessions alike";
  EXPECT_GE(ports.size(), 3u);
  // The source was not disturbed.
  EXPECT_TRUE(goes_on(guest));
  EXPECT_EQ(source->server->clients().size(), 1u);

  // Held: of the source's connection not a packet leaves a clone. What its kernel sent again before
  // the proxy had let go of it, the VMM dropped.
  for (const Side* side : sides)
    EXPECT_EQ(segments_from(side->network.captured(), parents[0].port).size(), 0u)
        << side->network.name();
  // Not held: it may send again what was sent, byte for byte. Nobody seals anything anew, and
  // nobody says goodbye.
  std::map<std::uint32_t, std::string> sent;
  for (const Segment& segment : segments_from(source->network.captured(), parents[0].port))
    sent[segment.sequence] = segment.payload;
  auto not_held = Restored::restore(
      scratch_ / "snapshot", scratch_ / "free", 1,
      {"--timeout", "110", "--wait", "safe", "--net",
       std::string("tap=") + HostNetwork::kTap + ",netns=" + free->network.name()});
  ASSERT_TRUE(not_held);
  EXPECT_TRUE(goes_on(not_held->guest(1)));
  for (const Segment& segment : segments_from(free->network.captured(), parents[0].port)) {
    EXPECT_FALSE(segment.reset_or_end);
    if (!segment.payload.empty()) {
      EXPECT_EQ(sent[segment.sequence], segment.payload) << "new ciphertext under an old key";
    }
  }
}

}  // namespace
}  // namespace clonesafe::lab
