// What a stream carries through the socket device: within the credit of both sides, and to its end.
#include "tests/unit/virtio/vsock_fixture.h"

namespace clonesafe::virtio {
namespace {

// One MiB from the host to a guest that gives back credit only as it reads.
TEST_F(VsockTest, AMebibyteToTheGuestArrivesWholeWithinItsCredit) {
  machine_.start();
  std::uint32_t port = 0;
  const UniqueFd host = host_connects(kGuestPort, port);
  const std::string sent = random_text(1 << 20);
  std::string received;
  std::size_t written = 0;
  std::uint32_t forwarded = 0;
  bool asked = false;
  ASSERT_TRUE(machine_.until([&] {
    written += write_some(host, std::string_view(sent).substr(written));
    for (const Packet& packet : machine_.receive()) {
      if (packet.operation() == VsockOperation::kCreditRequest) asked = true;
      received += packet.data;
      EXPECT_LE(received.size() - forwarded, kCredit) << "more than the guest's credit";
    }
    if (asked) {
      // The guest reads only when it is asked: so the device stops until then.
      EXPECT_EQ(received.size() - forwarded, kCredit);
      asked = false;
      forwarded = static_cast<std::uint32_t>(received.size());
      machine_.send({.source_cid = kCid,
                     .destination_cid = kVsockHostCid,
                     .source_port = kGuestPort,
                     .destination_port = port,
                     .type = kVsockTypeStream,
                     .operation = VsockOperation::kCreditUpdate,
                     .buffer_size = kCredit,
                     .forwarded_count = forwarded});
    }
    return received.size() >= sent.size();
  }));
  EXPECT_EQ(received, sent);
}

// Much at once, then little, over and over: the buffers that were at hand and not needed are those
// of the next packets.
TEST_F(VsockTest, BuffersThatDataDidNotNeedAreUsedNext) {
  machine_.start();
  std::uint32_t port = 0;
  const UniqueFd host = host_connects(kGuestPort, port);
  std::uint32_t forwarded = 0;
  for (int round = 0; round < 60; ++round) {
    const std::string sent = random_text(round % 3 == 0 ? 30'000 : round % 3 == 1 ? 9'000 : 1);
    ASSERT_EQ(write_some(host, sent), sent.size());
    std::string received;
    ASSERT_TRUE(machine_.until([&] {
      for (const Packet& packet : machine_.receive()) received += packet.data;
      return received.size() >= sent.size();
    })) << "round "
        << round << ": the guest's buffers are lost";
    ASSERT_EQ(received, sent);
    forwarded += static_cast<std::uint32_t>(sent.size());
    machine_.send({.source_cid = kCid,
                   .destination_cid = kVsockHostCid,
                   .source_port = kGuestPort,
                   .destination_port = port,
                   .type = kVsockTypeStream,
                   .operation = VsockOperation::kCreditUpdate,
                   .buffer_size = kCredit,
                   .forwarded_count = forwarded});
  }
}

// One MiB from a guest that keeps to the credit it is told of, to a host that reads late.
TEST_F(VsockTest, AMebibyteFromTheGuestArrivesWholeWithinTheDevicesCredit) {
  machine_.start();
  const UniqueFd listener = listen_on(path_ + "_80");
  machine_.send(VsockOperation::kRequest, 1024, 80);
  const Packet response = machine_.next();
  ASSERT_EQ(response.operation(), VsockOperation::kResponse);
  const UniqueFd host = accept_from(listener);
  const std::uint32_t credit = response.header.buffer_size;

  const std::string text = random_text(1 << 20);
  std::size_t sent = 0;
  std::uint32_t forwarded = 0;
  std::string received;
  int blocked = 0;
  ASSERT_TRUE(machine_.until([&] {
    for (const Packet& packet : machine_.receive()) {
      EXPECT_NE(packet.operation(), VsockOperation::kReset);
      forwarded = packet.header.forwarded_count;
    }
    const std::size_t room = credit - (sent - forwarded);
    const std::size_t size = std::min({text.size() - sent, room, std::size_t{60000}});
    if (size > 0) {
      machine_.send(VsockOperation::kData, 1024, 80, std::string_view(text).substr(sent, size));
      sent += size;
    } else {
      // Out of credit, or all sent: only now the host reads.
      ++blocked;
      received += read_some(host);
    }
    return received.size() >= text.size();
  }));
  EXPECT_GT(blocked, 1) << "credit never ran out";
  EXPECT_EQ(received, text);
}

TEST_F(VsockTest, GuestThatSendsMoreThanItsCreditIsReset) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  const std::string data(60000, 'x');
  bool reset = false;
  // The host never reads: its socket fills, then the device's buffer, then the credit is used up.
  for (int i = 0; i < 100 && !reset; ++i) {
    machine_.send(VsockOperation::kData, 1024, 80, data);
    for (const Packet& packet : machine_.receive()) {
      reset = reset || packet.operation() == VsockOperation::kReset;
    }
  }
  EXPECT_TRUE(reset);
}

TEST_F(VsockTest, GuestThatClosesGetsItsResetAndTheHostGetsAllItSent) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  // More than a socket's buffer holds, so that some of it is still with the device.
  const std::string text = random_text(300000);
  std::size_t sent = 0;
  while (sent < text.size()) {
    const std::size_t size = std::min<std::size_t>(60000, text.size() - sent);
    machine_.send(VsockOperation::kData, 1024, 80, std::string_view(text).substr(sent, size));
    sent += size;
  }
  machine_.send(VsockOperation::kShutdown, 1024, 80, {}, kVsockShutdownBoth);
  bool reset = false;
  std::string received;
  bool ended = false;
  ASSERT_TRUE(machine_.until([&] {
    for (const Packet& packet : machine_.receive()) {
      reset = reset || packet.operation() == VsockOperation::kReset;
    }
    const std::string part = read_some(host);
    received += part;
    ended = part.empty() && received.size() >= text.size() && at_end(host);
    return ended;
  }));
  EXPECT_TRUE(reset);
  EXPECT_EQ(received, text);
  EXPECT_EQ(machine_.device->counts().streams, 0u);
}

TEST_F(VsockTest, GuestThatStopsSendingStillReceives) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  machine_.send(VsockOperation::kData, 1024, 80, "question");
  machine_.send(VsockOperation::kShutdown, 1024, 80, {}, kVsockShutdownSend);
  EXPECT_EQ(read_some(host), "question");
  EXPECT_TRUE(at_end(host));
  write_some(host, "answer");
  EXPECT_EQ(machine_.next().data, "answer");
  machine_.send(VsockOperation::kData, 1024, 80, "more");
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kReset) << "data after the end";
}

TEST_F(VsockTest, GuestThatStopsReceivingStillSends) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  machine_.send(VsockOperation::kShutdown, 1024, 80, {}, kVsockShutdownReceive);
  EXPECT_EQ(write_some(host, "unwanted"), 0u);
  machine_.send(VsockOperation::kData, 1024, 80, "last words");
  EXPECT_EQ(read_some(host), "last words");
  EXPECT_TRUE(machine_.quiet());
}

TEST_F(VsockTest, HostThatStopsSendingStillReceives) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  write_some(host, "question");
  ::shutdown(host.get(), SHUT_WR);
  EXPECT_EQ(machine_.next().data, "question");
  const Packet end = machine_.next();
  EXPECT_EQ(end.operation(), VsockOperation::kShutdown);
  EXPECT_EQ(end.header.flags, kVsockShutdownSend);
  machine_.send(VsockOperation::kData, 1024, 80, "answer");
  EXPECT_EQ(read_some(host), "answer");
}

TEST_F(VsockTest, HostThatClosesAfterItStoppedSendingIsTold) {
  machine_.start();
  UniqueFd host = guest_connects(1024, 80);
  ::shutdown(host.get(), SHUT_WR);
  EXPECT_EQ(machine_.next().header.flags, kVsockShutdownSend);
  host.reset();
  const Packet end = machine_.next();
  EXPECT_EQ(end.operation(), VsockOperation::kShutdown);
  EXPECT_EQ(end.header.flags, kVsockShutdownBoth);
}

TEST_F(VsockTest, HostThatClosesIsToldAfterItsLastByte) {
  machine_.start();
  UniqueFd host = guest_connects(1024, 80);
  const std::string text = random_text(50000);
  ASSERT_EQ(write_some(host, text), text.size());
  host.reset();
  std::string received;
  Packet packet = machine_.next();
  while (packet.operation() == VsockOperation::kData) {
    received += packet.data;
    packet = machine_.next();
  }
  EXPECT_EQ(received, text);
  EXPECT_EQ(packet.operation(), VsockOperation::kShutdown);
  EXPECT_EQ(packet.header.flags, kVsockShutdownBoth);
  machine_.send(VsockOperation::kReset, 1024, 80);
  EXPECT_EQ(machine_.device->counts().streams, 0u);
}

TEST_F(VsockTest, HostThatAnswersAndClosesAtOnceIsHeard) {
  machine_.start();
  const UniqueFd listener = listen_on(path_ + "_80");
  machine_.guest.stop_receiving();
  machine_.send(VsockOperation::kRequest, 1024, 80);
  UniqueFd host = accept_from(listener);
  write_some(host, "busy");
  host.reset();
  machine_.poll();
  machine_.guest.go_on_receiving();
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kResponse);
  EXPECT_EQ(machine_.next().data, "busy");
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kShutdown);
}

}  // namespace
}  // namespace clonesafe::virtio
