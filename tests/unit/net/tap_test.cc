#include "vmm_device/net/tap.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <thread>

#include "tests/unit/net/net_fixture.h"
#include "vmm_device/net/namespace.h"

namespace clonesafe::network {
namespace {

using testing::HasSubstr;

TEST(InterfaceName, IsOneToFifteenBytesWithoutSeparators) {
  for (const char* name : {"a", "vm0", "tap-1.2", "fifteen-letters"})
    EXPECT_TRUE(check_interface_name(name)) << name;
  for (const char* name :
       {"", ".", "..", "sixteen-letters!", "a/b", "a:1", "a b", "tap%d", "a\n", "\xff", "a,b"})
    EXPECT_FALSE(check_interface_name(name)) << name;
}

TEST(Namespace, RefusesNamesThatLeadElsewhere) {
  for (const char* name : {".", "..", "../1/ns/net", "a/b"})
    EXPECT_THAT(InNamespace::enter(name).error().message(), HasSubstr("not the name")) << name;
}

TEST(Namespace, NamesTheOneThatIsNotThere) {
  EXPECT_THAT(InNamespace::enter("no-such-one").error().message(),
              HasSubstr("/run/netns/no-such-one"));
}

TEST(Tap, RefusesWhatIsNoName) {
  EXPECT_THAT(open_tap("tap%d", "").error().message(), HasSubstr("'tap%d'"));
}

// With a tap of the kernel's, where this user may make one in a network namespace of its own.
TEST(Tap, IsOpenedOnceAndTakesOffloads) {
  std::thread([] {
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "no network namespace";
    auto tap = open_tap("vm0", "");
    if (!tap) GTEST_SKIP() << tap.error().message();
    EXPECT_EQ(tap->name, "vm0");
    EXPECT_EQ(tap->mtu, 1500);
    EXPECT_NE(::fcntl(tap->fd.get(), F_GETFL) & O_NONBLOCK, 0);
    int header = 0;
    EXPECT_EQ(::ioctl(tap->fd.get(), TUNGETVNETHDRSZ, &header), 0);
    EXPECT_EQ(header, 12);
    EXPECT_TRUE(tap->set_offloads({.checksum = true, .tso4 = true, .tso6 = true}));
    EXPECT_TRUE(tap->set_offloads({.tso4 = true}))
        << "segments without a checksum are not asked for";
    EXPECT_EQ(open_tap("vm0", "").error().message(), "tap vm0: in use by another process");
    EXPECT_THAT(open_tap("lo", "").error().message(), HasSubstr("of another kind"));
  }).join();
}

Status delete_interface(const char* name) {
  struct {
    nlmsghdr header;
    ifinfomsg interface;
  } request{};
  request.header = {.nlmsg_len = sizeof request,
                    .nlmsg_type = RTM_DELLINK,
                    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
  request.interface.ifi_index = static_cast<int>(::if_nametoindex(name));
  const UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd || ::send(fd.get(), &request, sizeof request, 0) < 0) return fail_errno("netlink");
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char more[256];
  } answer{};
  if (::recv(fd.get(), &answer, sizeof answer, 0) < 0) return fail_errno("netlink");
  if (answer.error.error != 0) return fail_errno("delete", -answer.error.error);
  return {};
}

TEST(Tap, ThatIsDeletedIsALinkThatIsDown) {
  std::thread([] {
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "no network namespace";
    auto tap = open_tap("vm0", "");
    if (!tap) GTEST_SKIP() << tap.error().message();
    virtio::NetMachine machine(std::move(*tap));
    machine.start();
    machine.send("while its link is down, as a new tap's is");
    EXPECT_EQ(machine.device->counts().sent_lost, 1u);
    EXPECT_EQ(machine.config().status, virtio::net::kStatusLinkUp) << "it may come up";
    const auto deleted = delete_interface("vm0");
    ASSERT_TRUE(deleted) << deleted.error().message();
    machine.poll();
    EXPECT_EQ(machine.config().status, 0);
    machine.send("to nobody");
    EXPECT_EQ(machine.device->counts().sent_lost, 2u);
  }).join();
}

}  // namespace
}  // namespace clonesafe::network
