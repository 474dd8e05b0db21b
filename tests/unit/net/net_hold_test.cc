// A network that is held until the guest is safe.
#include "tests/unit/net/net_fixture.h"
#include "tests/unit/net/tcp_frame.h"
#include "vmm_device/virtio/parked_frames.h"

namespace clonesafe::virtio {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr NetOptions kHeld{.mac = kMac, .hold = true};

TEST(HeldNetwork, NothingLeavesOrArrivesUntilItIsReleased) {
  NetMachine machine(kHeld);
  machine.arrive("before the driver");
  machine.start();
  machine.send("one");
  machine.arrive("while held");
  machine.send("two");
  EXPECT_THAT(machine.all_that_left(), IsEmpty());
  EXPECT_THAT(machine.receive(), IsEmpty());
  EXPECT_EQ(machine.guest.sending(machine.memory), 0u) << "the guest goes on";
  EXPECT_EQ(machine.config().status, net::kStatusLinkUp);
  EXPECT_TRUE(machine.device->held());
  EXPECT_EQ(machine.device->counts().parked_now, 2u);

  machine.device->release();
  EXPECT_FALSE(machine.device->held());
  EXPECT_THAT(machine.all_that_left(), ElementsAre(padded("one"), padded("two")));
  machine.send("three");
  machine.arrive("after it");
  EXPECT_THAT(machine.all_that_left(), ElementsAre(padded("three")));
  const auto received = machine.receive();
  ASSERT_EQ(received.size(), 1u) << "what came while it was held";
  EXPECT_EQ(received[0].bytes, padded("after it"));
  const NetCounts counts = machine.device->counts();
  EXPECT_EQ(counts.parked, 2u);
  EXPECT_EQ(counts.held_lost, 2u);
  EXPECT_EQ(counts.parked_now, 0u);
  EXPECT_EQ(counts.sent_frames, 3u);
}

// The twin: without the hold the same frames are there at once.
TEST(HeldNetwork, WithoutAHoldFramesTravelAtOnce) {
  NetMachine machine;
  machine.start();
  machine.send("one");
  EXPECT_THAT(machine.all_that_left(), ElementsAre(padded("one")));
  machine.device->release();
  EXPECT_EQ(machine.device->counts().parked, 0u);
}

// No connection that is opened while it is held gets beyond its SYN.
TEST(HeldNetwork, SegmentsOfOldTcpConnectionsAreNeverSent) {
  NetMachine machine(kHeld);
  machine.start();
  const std::string opening = tcp_frame(kTcpSyn), going_on = tcp_frame(kTcpAck);
  machine.send(going_on);
  machine.send(opening);
  machine.send(going_on);
  EXPECT_EQ(machine.guest.sending(machine.memory), 0u) << "the guest goes on";
  EXPECT_EQ(machine.device->counts().parked, 1u);
  EXPECT_EQ(machine.device->counts().held_stale, 2u);
  EXPECT_EQ(machine.device->counts().held_lost, 0u);
  machine.device->release();
  EXPECT_THAT(machine.all_that_left(), ElementsAre(opening));
  machine.send(going_on);
  EXPECT_THAT(machine.all_that_left(), ElementsAre(going_on));
  EXPECT_EQ(machine.device->counts().held_stale, 2u);
}

TEST(HeldNetwork, ParkedFramesAreACopy) {
  NetMachine machine(kHeld);
  machine.start();
  machine.send("as it was sent");
  std::memset(machine.memory.at(GuestAddress(FakeNetGuest::kSend), 64)->data(), 'x', 64);
  machine.device->release();
  EXPECT_THAT(machine.all_that_left(), ElementsAre(padded("as it was sent")));
}

TEST(HeldNetwork, KeepsTheOldestFramesUpToItsLimits) {
  NetMachine machine(kHeld);
  machine.start();
  const std::size_t more = 7;
  for (std::size_t i = 0; i < net::ParkedFrames::kMaxFrames + more; ++i)
    machine.send("frame number " + std::to_string(i));
  EXPECT_EQ(machine.device->counts().parked, net::ParkedFrames::kMaxFrames);
  EXPECT_EQ(machine.device->counts().held_lost, more);
  machine.device->release();
  std::vector<std::string> left;
  for (;;) {
    const auto some = machine.all_that_left();
    if (some.empty()) break;
    left.insert(left.end(), some.begin(), some.end());
    machine.poll();
  }
  ASSERT_EQ(left.size(), net::ParkedFrames::kMaxFrames);
  EXPECT_EQ(left.front(), padded("frame number 0"));
  EXPECT_EQ(left.back(), "frame number 1023");
}

TEST(HeldNetwork, KeepsNoMoreBytesThanItsLimit) {
  NetMachine machine(kHeld);
  machine.start();
  const std::size_t size = 60'000;
  const std::size_t fit = net::ParkedFrames::kMaxBytes / (size + sizeof(net::Header));
  for (std::size_t i = 0; i < fit + 3; ++i) machine.send(std::string(size, 'x'));
  EXPECT_EQ(machine.device->counts().parked, fit);
  EXPECT_EQ(machine.device->counts().held_lost, 3u);
  machine.send("a small one still fits");
  EXPECT_EQ(machine.device->counts().parked, fit + 1);
}

// The tap is full in the middle of the release: what the guest sends then must not overtake.
TEST(HeldNetwork, ReleaseKeepsTheOrderWhenTheTapIsFull) {
  NetMachine machine(kHeld);
  machine.start();
  const int small = 1;
  ASSERT_EQ(::setsockopt(machine.host.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
  std::vector<std::string> sent;
  for (int i = 0; i < 900; ++i) {
    sent.push_back(padded("frame " + std::to_string(i) + std::string(3000, '.')));
    machine.send(sent.back());
  }
  machine.device->release();
  ASSERT_GT(machine.device->counts().parked_now, 0u) << "the tap takes everything";
  sent.push_back(padded("last"));
  machine.send(sent.back());
  std::vector<std::string> left;
  while (left.size() < sent.size()) {
    const auto more = machine.all_that_left();
    ASSERT_FALSE(more.empty()) << left.size();
    left.insert(left.end(), more.begin(), more.end());
    machine.poll();
  }
  EXPECT_EQ(left, sent);
}

TEST(HeldNetwork, ReleaseWhileItIsPausedWaitsForTheMachine) {
  NetMachine machine(kHeld);
  machine.start();
  machine.send("one");
  machine.transport->pause();
  machine.device->release();
  machine.poll();
  EXPECT_THAT(machine.all_that_left(), IsEmpty()) << "a paused machine sends";
  machine.transport->resume();
  machine.poll();
  EXPECT_THAT(machine.all_that_left(), ElementsAre(padded("one")));
}

}  // namespace
}  // namespace clonesafe::virtio
