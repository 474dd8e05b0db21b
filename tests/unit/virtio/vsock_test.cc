// The socket device between a driver made by hand and real Unix sockets.
#include "tests/unit/virtio/vsock_fixture.h"

namespace clonesafe::virtio {
namespace {

TEST_F(VsockTest, ShowsItsCid) {
  EXPECT_EQ(machine_.registers.read(kRegisterDeviceId), 19u);
  EXPECT_EQ(machine_.registers.read(kRegisterConfig), 3u);
  EXPECT_EQ(machine_.registers.read(kRegisterConfig + 4), 0u);
}

TEST_F(VsockTest, SocketIsForItsOwnerAndGoesWithTheDevice) {
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  {
    const std::string other = folder_ / "other";
    const Machine machine(other);
    EXPECT_TRUE(std::filesystem::exists(other));
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "other"));
}

TEST_F(VsockTest, RefusesABadCidAPathInUseAndAPathTooLong) {
  boost::asio::io_context io;
  for (std::uint64_t cid : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{0xffffffff}}) {
    EXPECT_FALSE(VsockDevice::create(io, {.guest_cid = cid}));
  }
  auto used = VsockDevice::create(io, {.guest_cid = 3, .socket_path = path_});
  ASSERT_FALSE(used);
  EXPECT_EQ(used.error().message(), "vsock: bind to " + path_ + ": Address already in use");
  auto longer = VsockDevice::create(io, {.guest_cid = 3, .socket_path = std::string(108, 'x')});
  ASSERT_FALSE(longer);
  EXPECT_THAT(longer.error().message(), testing::HasSubstr("longer than 107 bytes"));
}

TEST_F(VsockTest, HostConnectsAndBothSidesTalk) {
  machine_.start();
  std::uint32_t port = 0;
  const UniqueFd host = host_connects(kGuestPort, port);
  EXPECT_GE(port, 1u << 30);
  machine_.send(VsockOperation::kData, kGuestPort, port, "from the guest");
  EXPECT_EQ(read_some(host), "from the guest");
  write_some(host, "from the host");
  const Packet packet = machine_.next();
  EXPECT_EQ(packet.operation(), VsockOperation::kData);
  EXPECT_EQ(packet.data, "from the host");
  EXPECT_EQ(packet.header.length, 13u);
  EXPECT_EQ(packet.header.source_cid, kVsockHostCid);
  EXPECT_EQ(packet.header.destination_cid, kCid);
  EXPECT_EQ(packet.header.forwarded_count, 14u);
}

TEST_F(VsockTest, BytesBehindTheRequestLineBelongToTheStream) {
  machine_.start();
  const UniqueFd host = connect_to(path_);
  write_some(host, "CONN");
  machine_.poll();
  write_some(host, "ECT 5000\nhello");
  const auto port = machine_.next().header.source_port;
  machine_.send(VsockOperation::kResponse, kGuestPort, port);
  EXPECT_EQ(machine_.next().data, "hello");
}

TEST_F(VsockTest, HostThatConnectsBeforeTheDriverIsThereIsServedThen) {
  const UniqueFd host = connect_to(path_);
  write_some(host, "CONNECT 5000\n");
  machine_.poll();
  machine_.start();
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kRequest);
}

TEST_F(VsockTest, HostThatGivesUpBeforeTheDriverIsThereIsForgotten) {
  UniqueFd host = connect_to(path_);
  write_some(host, "CONNECT 5000\n");
  ASSERT_TRUE(machine_.until([&] { return machine_.device->counts().streams == 1; }));
  host.reset();
  EXPECT_TRUE(machine_.until([&] { return machine_.device->counts().streams == 0; }));
  machine_.start();
  EXPECT_TRUE(machine_.quiet());
}

TEST_F(VsockTest, RefusedByTheGuestReadsAsTheEnd) {
  machine_.start();
  const UniqueFd host = connect_to(path_);
  write_some(host, "CONNECT 5000\n");
  const auto port = machine_.next().header.source_port;
  machine_.send(VsockOperation::kReset, kGuestPort, port);
  EXPECT_TRUE(at_end(host));
  EXPECT_EQ(machine_.device->counts().streams, 0u);
}

TEST_F(VsockTest, GuestThatDoesNotAnswerInTimeIsGivenUp) {
  Machine machine(folder_ / "late", FakeMemory(FakeVsockGuest::kMemorySize), kCid, 8,
                  std::chrono::milliseconds(1));
  machine.start();
  const UniqueFd host = connect_to(folder_ / "late");
  write_some(host, "CONNECT 5000\n");
  const Packet request = machine.next();
  EXPECT_EQ(request.operation(), VsockOperation::kRequest);
  EXPECT_TRUE(machine.until([&] { return at_end(host); }));
  EXPECT_EQ(machine.next().operation(), VsockOperation::kReset);
  EXPECT_EQ(machine.device->counts().streams, 0u);
  // An answer that comes after all is one to nobody.
  machine.send(VsockOperation::kResponse, kGuestPort, request.header.source_port);
  EXPECT_EQ(machine.next().operation(), VsockOperation::kReset);
}

// Polls until so much time has passed.
void poll_for(Machine& machine, std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) machine.poll();
}

TEST_F(VsockTest, TimeToAnswerDoesNotRunBeforeTheDriverIsThere) {
  Machine machine(folder_ / "late", FakeMemory(FakeVsockGuest::kMemorySize), kCid, 8,
                  std::chrono::milliseconds(1));
  const UniqueFd host = connect_to(folder_ / "late");
  write_some(host, "CONNECT 5000\n");
  poll_for(machine, std::chrono::milliseconds(20));
  EXPECT_FALSE(at_end(host));
}

TEST_F(VsockTest, TimeToAnswerEndsWithTheAnswer) {
  constexpr std::chrono::milliseconds kTimeout{50};
  Machine machine(folder_ / "late", FakeMemory(FakeVsockGuest::kMemorySize), kCid, 8, kTimeout);
  machine.start();
  // Once more if this process was held up for so long that its answer was late.
  for (int i = 0; i < 20; ++i) {
    const UniqueFd host = connect_to(folder_ / "late");
    write_some(host, "CONNECT 5000\n");
    const auto before = std::chrono::steady_clock::now();
    machine.send(VsockOperation::kResponse, kGuestPort, machine.next().header.source_port);
    if (std::chrono::steady_clock::now() - before >= kTimeout) continue;
    EXPECT_TRUE(read_some(host).starts_with("OK "));
    poll_for(machine, 2 * kTimeout);
    EXPECT_FALSE(at_end(host));
    return;
  }
  FAIL() << "never in time";
}

TEST_F(VsockTest, BadRequestLinesAreRefused) {
  machine_.start();
  for (const char* line :
       {"\n", "CONNECT\n", "CONNECT x\n", "CONNECT 4294967296\n", "CONNECT -1\n", "CONNECT 1 \n",
        "connect 1\n", "GET / HTTP/1.1\r\n", "CONNECT 00000000000000000000000000001\n",
        "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"}) {
    const UniqueFd host = connect_to(path_);
    write_some(host, line);
    EXPECT_TRUE(machine_.until([&] { return at_end(host); })) << line;
  }
  EXPECT_TRUE(machine_.quiet());
}

TEST_F(VsockTest, GuestConnectsToAHostProgram) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  machine_.send(VsockOperation::kData, 1024, 80, "GET");
  EXPECT_EQ(read_some(host), "GET");
  write_some(host, "200");
  EXPECT_EQ(machine_.next().data, "200");
}

TEST_F(VsockTest, HostProgramWhoseSocketIsGoneIsARefusalThatIsCounted) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  std::filesystem::remove(path_ + "_80");
  machine_.send(VsockOperation::kRequest, 1025, 80);
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kReset);
  EXPECT_EQ(machine_.device->counts().refused, 1u);
  machine_.send(VsockOperation::kData, 1024, 80, "still here");
  EXPECT_EQ(read_some(host), "still here");
}

TEST_F(VsockTest, GuestIsReset) {
  machine_.start();
  struct {
    const char* what;
    VsockHeader header;
  } cases[] = {
      {"nobody listens",
       {3, 2, 1024, 81, 0, kVsockTypeStream, VsockOperation::kRequest, 0, kCredit, 0}},
      {"unknown stream", {3, 2, 1024, 81, 0, kVsockTypeStream, VsockOperation::kData, 0, 0, 0}},
      {"unknown shutdown",
       {3, 2, 1024, 81, 0, kVsockTypeStream, VsockOperation::kShutdown, 3, 0, 0}},
      {"another machine", {3, 7, 1024, 81, 0, kVsockTypeStream, VsockOperation::kRequest, 0, 0, 0}},
      {"another's CID", {4, 2, 1024, 81, 0, kVsockTypeStream, VsockOperation::kRequest, 0, 0, 0}},
      {"seqpacket", {3, 2, 1024, 81, 0, 2, VsockOperation::kRequest, 0, 0, 0}},
      {"no operation", {3, 2, 1024, 81, 0, kVsockTypeStream, VsockOperation{99}, 0, 0, 0}},
  };
  for (const auto& test : cases) {
    machine_.send(test.header);
    const Packet packet = machine_.next();
    EXPECT_EQ(packet.operation(), VsockOperation::kReset) << test.what;
    EXPECT_EQ(packet.header.source_cid, test.header.destination_cid) << test.what;
    EXPECT_EQ(packet.header.destination_cid, test.header.source_cid) << test.what;
    EXPECT_EQ(packet.header.source_port, 81u) << test.what;
    EXPECT_EQ(packet.header.destination_port, 1024u) << test.what;
    EXPECT_EQ(packet.header.type, test.header.type) << test.what;
  }
  machine_.send(VsockOperation::kReset, 1024, 81);
  EXPECT_TRUE(machine_.quiet()) << "a reset was answered";
}

TEST_F(VsockTest, ServesAPortInsideTheVmm) {
  UniqueFd served;
  machine_.device->listen(17228, [&](UniqueFd stream) -> Status {
    served = std::move(stream);
    return {};
  });
  machine_.device->listen(17229, [](UniqueFd) -> Status { return fail("busy"); });
  machine_.start();
  machine_.send(VsockOperation::kRequest, 1024, 17228);
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kResponse);
  ASSERT_TRUE(served);
  machine_.send(VsockOperation::kData, 1024, 17228, "hello");
  EXPECT_EQ(read_some(served), "hello");
  write_some(served, "welcome");
  EXPECT_EQ(machine_.next().data, "welcome");
  served.reset();
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kShutdown);

  machine_.send(VsockOperation::kRequest, 1025, 17229);
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kReset);
}

TEST_F(VsockTest, KeepsOrdinaryGuestProgramsFromAPrivilegedPort) {
  UniqueFd served;
  machine_.device->listen(
      17228,
      [&](UniqueFd stream) -> Status {
        served = std::move(stream);
        return {};
      },
      VsockDevice::GuestPorts::kPrivileged);
  machine_.start();
  machine_.send(VsockOperation::kRequest, 1024, 17228);
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kReset);
  EXPECT_FALSE(served);
  machine_.send(VsockOperation::kRequest, 1023, 17228);
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kResponse);
  EXPECT_TRUE(served);
}

TEST_F(VsockTest, NumberOfConnectionsIsBounded) {
  Machine machine(folder_ / "few", FakeMemory(FakeVsockGuest::kMemorySize), kCid, 2);
  const UniqueFd listener = listen_on((folder_ / "few") + "_80");
  machine.start();
  std::vector<UniqueFd> hosts;
  for (std::uint32_t port : {1u, 2u}) {
    machine.send(VsockOperation::kRequest, port, 80);
    EXPECT_EQ(machine.next().operation(), VsockOperation::kResponse);
    hosts.push_back(accept_from(listener));
  }
  machine.send(VsockOperation::kRequest, 3, 80);
  EXPECT_EQ(machine.next().operation(), VsockOperation::kReset);
  const UniqueFd host = connect_to(folder_ / "few");
  write_some(host, "CONNECT 5000\n");
  EXPECT_TRUE(machine.until([&] { return at_end(host); }));

  // One whose host closed makes room, however long the guest takes to close its end.
  hosts[0].reset();
  EXPECT_EQ(machine.next().operation(), VsockOperation::kShutdown);
  machine.send(VsockOperation::kRequest, 3, 80);
  EXPECT_EQ(machine.next().operation(), VsockOperation::kReset);
  EXPECT_EQ(machine.next().operation(), VsockOperation::kResponse);
  EXPECT_EQ(machine.device->counts().streams, 2u);
}

TEST_F(VsockTest, GuestThatTakesNothingIsNotGivenMoreWorkThanIsBounded) {
  machine_.start();
  machine_.guest.stop_receiving();
  // Each is answered by a reset, and the guest takes none: 64 fit in its buffers, 256 are kept,
  // then its packets wait.
  int accepted = 0;
  for (int i = 0; i < 1000 && machine_.guest.can_send(machine_.memory); ++i) {
    machine_.send(VsockOperation::kData, 1024, 81);
    ++accepted;
  }
  EXPECT_EQ(accepted, 64 + 256 + FakeVsockGuest::kSendBuffers);
  machine_.guest.go_on_receiving();
  int resets = 0;
  EXPECT_TRUE(machine_.until([&] {
    resets += static_cast<int>(machine_.receive().size());
    return resets >= accepted;
  }));
  EXPECT_EQ(resets, accepted) << "the packets that waited were lost";
}

TEST_F(VsockTest, ShortPacketsAndLyingLengthsAreDropped) {
  machine_.start();
  const std::uint64_t at = FakeVsockGuest::kSend;
  machine_.guest.send_queue().add(machine_.memory, {{.address = at, .length = 43}});
  machine_.registers.notify(1);
  machine_.poll();
  EXPECT_TRUE(machine_.guest.send_queue().take_used(machine_.memory));
  EXPECT_TRUE(machine_.quiet());

  VsockHeader header{.source_cid = kCid,
                     .destination_cid = kVsockHostCid,
                     .source_port = 1,
                     .destination_port = 2,
                     .length = 0xffffffff,
                     .type = kVsockTypeStream,
                     .operation = VsockOperation::kData};
  FakeQueue::put(machine_.memory, at, header);
  machine_.guest.send_queue().add(machine_.memory, {{.address = at, .length = 64}});
  machine_.registers.notify(1);
  EXPECT_EQ(machine_.next().operation(), VsockOperation::kReset);
}

TEST_F(VsockTest, ReceiveBufferWithoutRoomNeedsAReset) {
  machine_.guest.stop_receiving();
  machine_.start();
  for (int i = 0; i < 64; ++i) machine_.send(VsockOperation::kData, 1024, 81);
  machine_.guest.receive_queue() = FakeQueue(FakeVsockGuest::kRings, 64);
  machine_.registers.negotiate();
  machine_.registers.set_up(0, FakeQueue(FakeMemory::kStart + 0x1000, 64));
  machine_.registers.set_up(1, FakeQueue(FakeMemory::kStart + 0x3000, 32));
  machine_.registers.set_up(2, FakeQueue(FakeMemory::kStart + 0x5000, 64));
  machine_.registers.go();
  machine_.poll();
  FakeQueue receive(FakeMemory::kStart + 0x1000, 64);
  receive.add(machine_.memory,
              {{.address = FakeVsockGuest::kReceive, .length = 43, .writable = true}});
  const UniqueFd host = connect_to(path_);
  write_some(host, "CONNECT 5000\n");
  EXPECT_TRUE(machine_.until(
      [&] { return (machine_.registers.read(kRegisterStatus) & kStatusNeedsReset) != 0; }));
}

TEST_F(VsockTest, DriversResetClosesTheStreams) {
  machine_.start();
  const UniqueFd host = guest_connects(1024, 80);
  machine_.registers.write(kRegisterStatus, 0);
  machine_.poll();
  EXPECT_TRUE(at_end(host));
  EXPECT_EQ(machine_.device->counts().streams, 0u);
}

}  // namespace
}  // namespace clonesafe::virtio
