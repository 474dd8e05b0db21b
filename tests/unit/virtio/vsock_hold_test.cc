// The socket device while some ports are held.
#include "tests/unit/virtio/vsock_fixture.h"

namespace clonesafe::virtio {
namespace {

constexpr std::uint32_t kHeld = 80, kFree = 81;

class VsockHoldTest : public testing::Test {
 protected:
  void ask(std::uint32_t guest_port, std::uint32_t host_port) {
    machine_.send(VsockOperation::kRequest, guest_port, host_port);
  }
  UniqueFd host_asks(std::uint32_t guest_port) {
    UniqueFd host = connect_to(path_);
    write_some(host, "CONNECT " + std::to_string(guest_port) + "\n");
    return host;
  }
  bool waits(std::uint64_t count) {
    return machine_.until([&] { return machine_.device->counts().held == count; });
  }

  Folder folder_;
  std::string path_ = folder_ / "v.sock";
  Machine machine_{
      path_, FakeMemory(FakeVsockGuest::kMemorySize), kCid, 4, std::chrono::seconds(10), {kHeld}};
};

TEST_F(VsockHoldTest, GuestIsConnectedAtTheEndOfTheHold) {
  const UniqueFd held = listen_on(path_ + "_80"), free = listen_on(path_ + "_81");
  machine_.start();
  ask(1024, kHeld);
  ask(1025, kHeld);
  ask(1026, kFree);
  const Packet answer = machine_.next();
  EXPECT_EQ(answer.operation(), VsockOperation::kResponse);
  EXPECT_EQ(answer.header.destination_port, 1026u) << "another port's";
  const UniqueFd other = accept_from(free);
  EXPECT_TRUE(other);
  EXPECT_TRUE(machine_.quiet());
  EXPECT_FALSE(accept_from(held)) << "a host program heard of it";
  EXPECT_EQ(machine_.device->counts().held, 2u);

  machine_.device->release();
  EXPECT_EQ(machine_.next().header.destination_port, 1024u) << "in their order";
  EXPECT_EQ(machine_.next().header.destination_port, 1025u);
  const UniqueFd host = accept_from(held);
  ASSERT_TRUE(host);
  machine_.send(VsockOperation::kData, 1024, kHeld, "late");
  EXPECT_EQ(read_some(host), "late");
  ask(1027, kHeld);
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kResponse) << "held for ever";
}

TEST_F(VsockHoldTest, HostProgramIsConnectedAtTheEndOfTheHold) {
  machine_.start();
  const UniqueFd host = host_asks(kHeld);
  ASSERT_TRUE(waits(1));
  EXPECT_TRUE(machine_.quiet());
  machine_.device->release();
  const Packet request = machine_.next();
  EXPECT_EQ(request.operation(), VsockOperation::kRequest);
  EXPECT_EQ(request.header.destination_port, kHeld);
}

TEST_F(VsockHoldTest, HostProgramThatGaveUpIsNoTroubleAtTheEnd) {
  machine_.start();
  UniqueFd host = host_asks(kHeld);
  ASSERT_TRUE(waits(1));
  host.reset();
  machine_.device->release();
  machine_.send(VsockOperation::kResponse, kHeld, machine_.next().header.source_port);
  EXPECT_TRUE(machine_.until([&] {
    for (const Packet& packet : machine_.receive())
      if (packet.operation() == VsockOperation::kReset) return true;
    machine_.send(VsockOperation::kShutdown, kHeld, 1u << 30, {}, kVsockShutdownBoth);
    return machine_.device->counts().streams == 0;
  }));
}

// The guest's connect() has a time limit of its own; a port that it has given up may be used anew.
TEST_F(VsockHoldTest, GuestMayGiveUp) {
  const UniqueFd held = listen_on(path_ + "_80");
  machine_.start();
  ask(1024, kHeld);
  machine_.send(VsockOperation::kReset, 1024, kHeld);
  ask(1025, kHeld);
  ask(1025, kHeld);
  machine_.device->release();
  EXPECT_EQ(machine_.next().header.destination_port, 1025u);
  EXPECT_TRUE(machine_.quiet()) << "one that nobody waits for";
  EXPECT_TRUE(accept_from(held));
  EXPECT_FALSE(accept_from(held));
}

TEST_F(VsockHoldTest, ThoseThatWaitCountAsStreams) {
  machine_.start();
  for (std::uint32_t port = 1024; port < 1028; ++port) ask(port, kHeld);
  EXPECT_TRUE(machine_.quiet());
  ask(1028, kHeld);
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kReset);
  EXPECT_EQ(machine_.device->counts().held, 4u);
}

TEST_F(VsockHoldTest, PortThatTheVmmServesIsNotHeld) {
  machine_.device->listen(kHeld, [](UniqueFd) { return Status(); });
  machine_.start();
  ask(1024, kHeld);
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kResponse);
}

TEST_F(VsockHoldTest, WhatWaitsIsForgottenAtTheDriversReset) {
  const UniqueFd held = listen_on(path_ + "_80");
  machine_.start();
  ask(1024, kHeld);
  machine_.registers.write(kRegisterStatus, 0);
  machine_.poll();
  machine_.device->release();
  machine_.poll();
  EXPECT_FALSE(accept_from(held));
}

// Its program must not wait for an answer that only the source can get.
TEST_F(VsockHoldTest, RequestThatWaitsIsResetInAClone) {
  machine_.start();
  ask(1024, kHeld);
  const auto clone = clone_of(machine_, folder_ / "clone");
  clone->transport->resume();
  clone->poll();
  ASSERT_TRUE(clone->guest.take_event(clone->memory));
  clone->guest.give_event_back(clone->memory);
  clone->registers.notify(2);
  const Packet packet = clone->next();
  EXPECT_EQ(packet.operation(), VsockOperation::kReset);
  EXPECT_EQ(packet.header.destination_port, 1024u);
}

}  // namespace
}  // namespace clonesafe::virtio
