// The socket device across snapshots, pauses and restores.
#include "tests/unit/virtio/vsock_fixture.h"

namespace clonesafe::virtio {
namespace {

TEST_F(VsockTest, SourceKeepsItsStreamsAcrossASnapshot) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  const auto clone = clone_of(machine_, folder_ / "clone");
  write_some(host, "still here");
  EXPECT_EQ(machine_.next().data, "still here");
  machine_.send(VsockOperation::kData, 1024, 80, "me too");
  EXPECT_EQ(read_some(host), "me too");
  EXPECT_FALSE(machine_.guest.take_event(machine_.memory));
}

TEST_F(VsockTest, StreamWorksWhateverHappenedWhilePaused) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  machine_.transport->pause();
  write_some(host, "while paused");
  machine_.send(VsockOperation::kData, 1024, 80, "this too");
  machine_.poll();
  EXPECT_EQ(read_some(host), "");
  machine_.transport->resume();
  EXPECT_EQ(machine_.next().data, "while paused");
  EXPECT_EQ(read_some(host), "this too");
}

TEST_F(VsockTest, CloneIsToldOfTheResetAtOnceAndOfNothingElseUntilItTookIt) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  const auto clone = clone_of(machine_, folder_ / "clone");
  // A host program is there first.
  const UniqueFd early = connect_to(folder_ / "clone");
  write_some(early, "CONNECT 5000\n");
  clone->poll();
  const int raised = clone->line.raised;
  clone->transport->resume();
  clone->poll();
  EXPECT_GT(clone->line.raised, raised) << "the guest was not interrupted";
  EXPECT_TRUE(clone->quiet());
  const auto event = clone->guest.take_event(clone->memory);
  ASSERT_TRUE(event);
  EXPECT_EQ(*event, kVsockEventTransportReset);
  // Data of the source's stream, sent before the guest's program knew: no answer.
  clone->send(VsockOperation::kData, 1024, 80, "for the source's host");
  EXPECT_TRUE(clone->quiet());

  clone->guest.give_event_back(clone->memory);
  clone->registers.notify(2);
  const Packet first = clone->next();
  EXPECT_EQ(first.operation(), VsockOperation::kRequest);
  EXPECT_EQ(first.header.destination_port, 5000u);
  EXPECT_TRUE(clone->quiet());
  EXPECT_EQ(read_some(host), "") << "a clone's bytes reached the source's host program";
  EXPECT_FALSE(clone->guest.take_event(clone->memory)) << "told twice";
}

TEST_F(VsockTest, RequestOnItsWayAtTheSnapshotIsAnsweredInTheClone) {
  machine_.start();
  const UniqueFd listener = listen_on((folder_ / "clone") + "_80");
  machine_.transport->pause();
  machine_.send(VsockOperation::kRequest, 1024, 80);
  const auto clone = clone_of(machine_, folder_ / "clone");
  clone->transport->resume();
  EXPECT_TRUE(clone->quiet());
  ASSERT_TRUE(clone->guest.take_event(clone->memory));
  clone->guest.give_event_back(clone->memory);
  clone->registers.notify(2);
  const Packet packet = clone->next();
  EXPECT_EQ(packet.operation(), VsockOperation::kResponse);
  EXPECT_EQ(packet.header.destination_port, 1024u);
  EXPECT_TRUE(accept_from(listener));
  EXPECT_TRUE(clone->guest.can_send(clone->memory));
}

TEST_F(VsockTest, AnswerThatWasOnItsWayAtTheSnapshotIsAResetInTheClone) {
  // The guest has no buffer for the answer, so it waits in the device.
  machine_.start();
  machine_.guest.stop_receiving();
  for (int i = 0; i < 64; ++i) machine_.send(VsockOperation::kData, 1024, 81);
  const UniqueFd listener = listen_on(path_ + "_80");
  machine_.send(VsockOperation::kRequest, 2048, 80);
  const auto clone = clone_of(machine_, folder_ / "clone");
  machine_.guest.go_on_receiving();
  bool answered = false;
  for (const Packet& packet : machine_.receive()) (void)packet;
  for (const Packet& packet : machine_.receive()) {
    answered = answered || packet.operation() == VsockOperation::kResponse;
  }
  EXPECT_TRUE(answered) << "the source lost it";

  clone->guest.go_on_receiving();
  clone->transport->resume();
  EXPECT_EQ(clone->receive().size(), 64u);
  ASSERT_TRUE(clone->guest.take_event(clone->memory));
  clone->guest.give_event_back(clone->memory);
  clone->registers.notify(2);
  const Packet packet = clone->next();
  EXPECT_EQ(packet.operation(), VsockOperation::kReset);
  EXPECT_EQ(packet.header.destination_port, 2048u);
}

TEST_F(VsockTest, CloneOfACloneThatHasNotTakenTheEventIsToldOnce) {
  machine_.start();
  const auto clone = clone_of(machine_, folder_ / "clone");
  clone->transport->resume();
  clone->poll();
  const auto second = clone_of(*clone, folder_ / "second");
  second->transport->resume();
  second->poll();
  EXPECT_TRUE(second->guest.take_event(second->memory));
  EXPECT_FALSE(second->guest.take_event(second->memory));
  EXPECT_TRUE(second->quiet());
  second->guest.give_event_back(second->memory);
  second->registers.notify(2);
  second->send(VsockOperation::kData, 1024, 81);
  EXPECT_EQ(second->next().operation(), VsockOperation::kReset) << "the gate stayed shut";
}

TEST_F(VsockTest, CloneOfACloneThatHasTakenTheEventIsToldAgain) {
  machine_.start();
  const auto clone = clone_of(machine_, folder_ / "clone");
  clone->transport->resume();
  clone->poll();
  EXPECT_TRUE(clone->guest.take_event(clone->memory));
  clone->guest.give_event_back(clone->memory);
  clone->registers.notify(2);
  clone->poll();
  const auto second = clone_of(*clone, folder_ / "second");
  second->transport->resume();
  second->poll();
  EXPECT_TRUE(second->guest.take_event(second->memory));
}

TEST_F(VsockTest, CloneWhoseDriverNeverStartedIsToldNothing) {
  const auto clone = clone_of(machine_, folder_ / "clone");
  clone->transport->resume();
  clone->poll();
  clone->start();
  EXPECT_FALSE(clone->guest.take_event(clone->memory));
  clone->send(VsockOperation::kData, 1024, 81);
  EXPECT_EQ(clone->next().operation(), VsockOperation::kReset);
}

TEST_F(VsockTest, CloneThatResetsItsDeviceIsNotHeldBack) {
  machine_.start();
  const auto clone = clone_of(machine_, folder_ / "clone");
  clone->transport->resume();
  clone->poll();
  clone->guest = FakeVsockGuest();
  std::ranges::fill(clone->memory.at(GuestAddress(FakeVsockGuest::kRings), 0x8000).value(),
                    std::byte{0});
  clone->start();
  clone->send(VsockOperation::kData, 1024, 81);
  EXPECT_EQ(clone->next().operation(), VsockOperation::kReset);
}

TEST_F(VsockTest, HostPortsGoOnInTheClone) {
  machine_.start();
  std::uint32_t port = 0;
  const UniqueFd host = host_connects(kGuestPort, port);
  const auto clone = clone_of(machine_, folder_ / "clone");
  clone->transport->resume();
  clone->poll();
  clone->guest.take_event(clone->memory);
  clone->guest.give_event_back(clone->memory);
  const UniqueFd other = connect_to(folder_ / "clone");
  write_some(other, "CONNECT 5000\n");
  EXPECT_EQ(clone->next().header.source_port, port + 1);
}

TEST_F(VsockTest, CloneMayHaveAnotherCid) {
  machine_.start();
  machine_.transport->pause();
  machine_.send(VsockOperation::kRequest, 1024, 80);  // under the old CID
  const UniqueFd listener = listen_on((folder_ / "clone") + "_80");
  const auto clone = clone_of(machine_, folder_ / "clone", 42);
  EXPECT_EQ(clone->registers.read(kRegisterConfig), 42u);
  EXPECT_NE(clone->registers.read(kRegisterConfigGeneration),
            machine_.registers.read(kRegisterConfigGeneration));
  clone->transport->resume();
  clone->poll();
  clone->guest.take_event(clone->memory);
  clone->guest.give_event_back(clone->memory);
  clone->registers.notify(2);
  EXPECT_EQ(clone->next().operation(), VsockOperation::kResponse);
  const auto same = clone_of(machine_, folder_ / "same");
  EXPECT_EQ(same->registers.read(kRegisterConfig), 3u);
}

TEST_F(VsockTest, StateCutAnywhereIsAnErrorAndFlippedAnywhereIsHarmless) {
  machine_.start();
  machine_.transport->pause();
  machine_.send(VsockOperation::kRequest, 1024, 80);
  StateEncoder encoder;
  machine_.transport->save(encoder);
  for (std::size_t length = 0; length < encoder.bytes().size(); ++length) {
    Machine clone("", machine_.bytes, 0);
    StateDecoder decoder("vsock", std::span(encoder.bytes()).first(length));
    EXPECT_FALSE(clone.transport->restore(decoder)) << length;
  }
  // Every byte, and over a few bytes every bit.
  for (std::size_t bit = 0; bit < encoder.bytes().size() * 8; bit += 5) {
    auto state = encoder.bytes();
    state[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    Machine clone("", machine_.bytes, 0);
    clone.guest = machine_.guest;
    StateDecoder decoder("vsock", state);
    if (!clone.transport->restore(decoder)) continue;
    clone.transport->resume();
    clone.poll();
  }
}

}  // namespace
}  // namespace clonesafe::virtio
