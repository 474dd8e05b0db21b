// The network device across snapshots, pauses and restores.
#include "tests/unit/net/net_fixture.h"

namespace clonesafe::virtio {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr network::MacAddress kOther{{0x02, 0, 0, 0, 0, 2}};
constexpr NetOptions kClone{.mac = kOther, .drop_queued = true};

TEST(NetSnapshot, SourceGoesOnAsIfNothingWere) {
  NetMachine source;
  source.start();
  source.transport->pause();
  source.guest.send(source.memory, frame_of("queued while paused"));
  source.registers->notify(1);
  source.arrive("came while paused");
  EXPECT_THAT(source.all_that_left(), IsEmpty());
  EXPECT_THAT(source.receive(), IsEmpty());
  source.transport->resume();
  source.poll();
  EXPECT_THAT(source.all_that_left(), ElementsAre(padded("queued while paused")));
  EXPECT_EQ(source.receive().at(0).bytes, padded("came while paused"));
  EXPECT_EQ(source.config().status, net::kStatusLinkUp) << "asked to announce itself";
}

TEST(NetSnapshot, CloneDoesNotSendWhatItsParentHadQueued) {
  NetMachine source;
  source.start();
  source.send("sent before");
  source.guest.send(source.memory, frame_of("the parent's"));
  source.guest.send(source.memory, frame_of("the parent's too"));
  const auto clone = restored_from(source, kClone);
  // The clone's first instructions come before its device looks.
  clone->guest.send(clone->memory, frame_of("the clone's own"));
  clone->transport->resume();
  clone->poll();
  EXPECT_THAT(clone->all_that_left(), ElementsAre(padded("the clone's own")));
  EXPECT_EQ(clone->device->counts().parents, 2u);
  EXPECT_EQ(clone->guest.sending(clone->memory), 0u) << "the guest has its buffers back";
  EXPECT_THAT(source.all_that_left(), ElementsAre(padded("sent before"), padded("the parent's"),
                                                  padded("the parent's too")));
  // Only once: later pauses lose nothing.
  clone->transport->pause();
  clone->guest.send(clone->memory, frame_of("later"));
  clone->transport->resume();
  clone->poll();
  EXPECT_THAT(clone->all_that_left(), ElementsAre(padded("later")));
}

TEST(NetSnapshot, MovedMachineSendsWhatItHadQueued) {
  NetMachine source;
  source.start();
  source.guest.send(source.memory, frame_of("still to be sent"));
  const auto moved = restored_from(source, {});
  moved->transport->resume();
  moved->poll();
  EXPECT_THAT(moved->all_that_left(), ElementsAre(padded("still to be sent")));
  EXPECT_THAT(moved->config().mac, ElementsAreArray(kMac.bytes));
}

TEST(NetSnapshot, ParkedFramesStayWithTheSource) {
  NetMachine source({.mac = kMac, .hold = true});
  source.start();
  source.send("parked");
  const auto clone = restored_from(source, kClone);
  clone->transport->resume();
  clone->poll();
  EXPECT_THAT(clone->all_that_left(), IsEmpty());
  source.device->release();
  EXPECT_THAT(source.all_that_left(), ElementsAre(padded("parked")));
}

TEST(NetSnapshot, ReceivedFrameThatWaitsForBuffersStaysWithTheSource) {
  NetMachine source;
  source.start(NetMachine::kAll, 0);
  source.arrive("the source's");
  const auto clone = restored_from(source, kClone);
  clone->transport->resume();
  clone->give_buffers(1);
  EXPECT_THAT(clone->receive(), IsEmpty());
  source.give_buffers(1);
  EXPECT_EQ(source.receive().at(0).bytes, padded("the source's"));
}

TEST(NetSnapshot, CloneHasItsAddressAndIsAskedToAnnounceItself) {
  NetMachine source;
  source.start();
  const std::uint32_t generation = source.registers->read(kRegisterConfigGeneration);
  const auto clone = restored_from(source, kClone);
  EXPECT_THAT(clone->config().mac, ElementsAreArray(kOther.bytes));
  EXPECT_NE(clone->registers->read(kRegisterConfigGeneration), generation);
  EXPECT_EQ(clone->config().mtu, 1400) << "what its driver was told";
  clone->transport->resume();
  clone->poll();
  EXPECT_EQ(clone->config().status, net::kStatusLinkUp | net::kStatusAnnounce);
  EXPECT_NE(clone->registers->read(kRegisterInterruptStatus) & kInterruptConfig, 0u);
  EXPECT_GT(clone->line.raised, 0);
  EXPECT_EQ(clone->control({"\3\0", 2}), net::kControlOk);
  EXPECT_EQ(clone->config().status, net::kStatusLinkUp);
}

TEST(NetSnapshot, HeldCloneAnnouncesItselfWhenItIsReleased) {
  NetMachine source;
  source.start();
  const auto clone = restored_from(source, {.mac = kOther, .hold = true, .drop_queued = true});
  clone->transport->resume();
  clone->poll();
  EXPECT_EQ(clone->config().status, net::kStatusLinkUp);
  clone->device->release();
  EXPECT_EQ(clone->config().status, net::kStatusLinkUp | net::kStatusAnnounce);
}

TEST(NetSnapshot, GuestThatDidNotNegotiateItIsNotAskedToAnnounceItself) {
  NetMachine source;
  source.start(net::kFeatureMac | net::kFeatureStatus);
  const auto clone = restored_from(source, kClone);
  clone->transport->resume();
  clone->poll();
  EXPECT_EQ(clone->config().status, net::kStatusLinkUp);
  EXPECT_EQ(clone->offloads, network::Offloads{});
}

TEST(NetSnapshot, CloneTellsItsTapWhatTheDriverTakes) {
  NetMachine source;
  source.start();
  const auto clone = restored_from(source, kClone);
  clone->transport->resume();
  clone->poll();
  EXPECT_EQ(clone->offloads, (network::Offloads{.checksum = true, .tso4 = true}));
}

TEST(NetSnapshot, RefusesEveryTruncationAndDamagedValues) {
  const NetMachine machine;
  NetDevice& device = *machine.device;
  StateEncoder encoder;
  device.save(encoder);
  const auto good = encoder.bytes();
  const auto refusal = [&](std::vector<std::byte> bytes) -> std::string {
    StateDecoder decoder("net 0", bytes);
    const auto restored = device.restore(decoder);
    return restored ? "" : restored.error().message();
  };
  EXPECT_EQ(refusal(good), "");
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_THAT(refusal({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}),
                HasSubstr("net 0"))
        << size;
  const auto with = [&](std::size_t at, unsigned value) {
    auto bytes = good;
    bytes[at] = static_cast<std::byte>(value);
    return bytes;
  };
  EXPECT_THAT(refusal(with(0, 0x03)), HasSubstr("group"));
  auto small = with(7, 0);
  small[6] = std::byte{67};
  EXPECT_THAT(refusal(small), HasSubstr("MTU of 67"));
  EXPECT_THAT(refusal(with(8, 2)), HasSubstr("neither"));
}

}  // namespace
}  // namespace clonesafe::virtio
