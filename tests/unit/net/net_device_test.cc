// The network device as a driver meets it, on a pair of sockets instead of a tap.
#include "tests/unit/net/net_fixture.h"
#include "vmm_device/virtio/net_frame.h"
#include "vmm_device/virtio/net_receive.h"

namespace clonesafe::virtio {
namespace {

using testing::ElementsAre;

TEST(NetDevice, ShowsItsAddressLinkAndMtu) {
  NetMachine machine;
  EXPECT_EQ(machine.registers->read(kRegisterDeviceId), 1u);
  machine.registers->write(kRegisterQueueSelect, 2);
  EXPECT_EQ(machine.registers->read(kRegisterQueueSizeMax), 64u);
  machine.registers->write(kRegisterQueueSelect, 3);
  EXPECT_EQ(machine.registers->read(kRegisterQueueSizeMax), 0u) << "one pair of queues";
  const net::Config config = machine.config();
  EXPECT_THAT(config.mac, testing::ElementsAreArray(kMac.bytes));
  EXPECT_EQ(config.status, net::kStatusLinkUp);
  EXPECT_EQ(config.mtu, 1400);
  // What is outside stays as it is.
  std::uint32_t beyond = 0x12345678;
  machine.transport->read(kRegisterConfig + 12,
                          std::as_writable_bytes(std::span<std::uint32_t, 1>(&beyond, 1)));
  EXPECT_EQ(beyond, 0x12345678u);
}

TEST(NetDevice, FramesTravelBothWaysInOrder) {
  NetMachine machine;
  machine.start();
  for (const char* text : {"one", "two", "three"}) {
    machine.send(text);
    machine.arrive(text);
  }
  EXPECT_THAT(machine.all_that_left(), ElementsAre(padded("one"), padded("two"), padded("three")));
  const auto received = machine.receive();
  ASSERT_EQ(received.size(), 3u);
  EXPECT_EQ(received[2].bytes, padded("three"));
  EXPECT_EQ(received[2].header.num_buffers, 1);
  EXPECT_EQ(machine.guest.sending(machine.memory), 0u);
  const NetCounts counts = machine.device->counts();
  EXPECT_EQ(counts.sent_frames, 3u);
  EXPECT_EQ(counts.sent_bytes, 3 * 14u);
  EXPECT_EQ(counts.received_frames, 3u);
  EXPECT_EQ(counts.received_bytes, 3 * 14u);
}

TEST(NetDevice, HeadersOfUnfinishedFramesPassThrough) {
  NetMachine machine;
  machine.start();
  const net::Header header{.flags = net::kHeaderNeedsChecksum,
                           .gso_type = net::kGsoTcp4,
                           .hdr_len = 54,
                           .gso_size = 1448,
                           .csum_start = 34,
                           .csum_offset = 16,
                           .num_buffers = 0};
  machine.send(frame_of(std::string(40'000, 'x'), header));
  const auto left = machine.leave();
  ASSERT_TRUE(left);
  EXPECT_EQ(std::memcmp(&left->header, &header, sizeof header), 0);
  EXPECT_EQ(left->bytes, std::string(40'000, 'x'));

  machine.arrive(frame_of(std::string(1000, 'y'), header));
  const auto received = machine.receive();
  ASSERT_EQ(received.size(), 1u);
  EXPECT_EQ(received[0].header.csum_start, 34);
  EXPECT_EQ(received[0].header.gso_size, 1448);
}

TEST(NetDevice, TapIsToldWhatTheDriverTakes) {
  NetMachine machine;
  machine.start(net::kFeatureGuestChecksum | net::kFeatureGuestTso6);
  EXPECT_EQ(machine.offloads, (network::Offloads{.checksum = true, .tso6 = true}));
  machine.start(0);
  EXPECT_EQ(machine.offloads, network::Offloads{});
}

TEST(NetDevice, FramesThatWereNotNegotiatedAreLost) {
  NetMachine machine;
  machine.start(net::kFeatureMac);
  machine.send(frame_of("checksum", {.flags = net::kHeaderNeedsChecksum}));
  machine.send(frame_of("segments", {.gso_type = net::kGsoTcp4}));
  machine.send(frame_of("segments", {.gso_type = net::kGsoTcp6}));
  machine.send(frame_of("unknown", {.gso_type = 3}));
  machine.send(frame_of("unknown", {.flags = 2}));
  machine.send("plain");
  EXPECT_THAT(machine.all_that_left(), ElementsAre(padded("plain")));
  EXPECT_EQ(machine.device->counts().sent_lost, 5u);
  EXPECT_EQ(machine.guest.sending(machine.memory), 0u) << "the guest has its buffers back";
  EXPECT_FALSE(machine.needs_reset());
}

TEST(NetDevice, FramesOfImpossibleSizesAreLost) {
  NetMachine machine;
  machine.start();
  machine.send(Frame{.header = {}, .bytes = "13 bytes long"});
  machine.send(frame_of(std::string(net::kMaxFrame - sizeof(net::Header) + 1, 'x')));
  machine.send(frame_of(std::string(net::kMaxFrame - sizeof(net::Header), 'x')));
  const auto left = machine.all_that_left();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].size(), net::kMaxFrame - sizeof(net::Header));
  EXPECT_EQ(machine.device->counts().sent_lost, 2u);
}

TEST(NetDevice, LargeFrameTakesAsManyBuffersAsItNeeds) {
  NetMachine machine;
  machine.start(NetMachine::kAll, 60, 1500);
  std::string text(60'000, 'x');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  machine.arrive(text);
  machine.arrive("small");
  const auto received = machine.receive();
  ASSERT_EQ(received.size(), 2u);
  EXPECT_EQ(received[0].header.num_buffers, 41);
  EXPECT_EQ(received[0].bytes, text);
  EXPECT_EQ(received[1].bytes, padded("small"));
}

// The frame is the memory around the used ring's index, so that the second buffer has a copy of
// what the index was when it was filled.
TEST(NetDevice, DriverFindsAllBuffersOfAFrameAtOnce) {
  const FakeMemory bytes(0x8000);
  const GuestMemory memory = bytes.memory();
  FakeQueue driver(FakeMemory::kStart, 8);
  auto queue = Queue::create(memory, {.size = driver.size(),
                                      .ready = true,
                                      .descriptors = GuestAddress(driver.descriptors()),
                                      .driver = GuestAddress(driver.available()),
                                      .device = GuestAddress(driver.used())});
  ASSERT_TRUE(queue);
  constexpr std::uint32_t kBuffer = 64;
  const std::uint64_t second = FakeMemory::kStart + 0x5000;
  driver.add(memory,
             {{.address = FakeMemory::kStart + 0x4000, .length = kBuffer, .writable = true}});
  driver.add(memory, {{.address = second, .length = kBuffer, .writable = true}});
  const auto frame = memory.at(GuestAddress(driver.used() + 2 - kBuffer), 2 * kBuffer);
  std::vector<Chain> chains;
  ASSERT_EQ(net::deliver(*queue, *frame, true, chains).value(), net::Delivery::kDone);
  EXPECT_EQ(memory.read<std::uint16_t>(GuestAddress(second)).value(), 0) << "the first was to see";
  EXPECT_TRUE(driver.take_used(memory));
  EXPECT_TRUE(driver.take_used(memory));
  EXPECT_FALSE(driver.take_used(memory));
}

TEST(NetDevice, FrameWaitsUntilThereAreBuffersEnough) {
  NetMachine machine;
  machine.start(NetMachine::kAll, 2, 1000);
  machine.arrive(std::string(3500, 'x'));
  machine.arrive("after it");
  EXPECT_TRUE(machine.receive().empty());
  machine.give_buffers(1, 1000);
  EXPECT_TRUE(machine.receive().empty()) << "still too few";
  machine.give_buffers(1, 1000);
  EXPECT_EQ(machine.receive().at(0).bytes, std::string(3500, 'x'));
  machine.give_buffers(1, 1000);
  EXPECT_EQ(machine.receive().at(0).bytes, padded("after it")) << "order";
}

// The driver asked to be told by event index, and must be, though it had some buffers left.
TEST(NetDevice, AsksToBeNotifiedOfTheBufferAfterAllThatThereAre) {
  NetMachine machine;
  machine.start(NetMachine::kAll | kFeatureEventIndex, 2, 1000);
  machine.arrive(std::string(3500, 'x'));
  const std::uint64_t event = machine.guest.receive_queue().used() + 4 + 8 * 64;
  EXPECT_EQ(machine.memory.read<std::uint16_t>(GuestAddress(event)).value(), 2);
}

TEST(NetDevice, DoesNothingWhileTheGuestGivesNoBuffers) {
  NetMachine machine;
  machine.start(NetMachine::kAll, 0);
  for (int i = 0; i < 3; ++i) machine.arrive("waits");
  machine.io.restart();
  EXPECT_EQ(machine.io.poll(), 0u) << "the device polls a tap that it can't empty";
  machine.give_buffers(3);
  EXPECT_EQ(machine.receive().size(), 3u);
}

TEST(NetDevice, FrameThatNoBuffersHaveRoomForIsLost) {
  NetMachine machine;
  machine.start(net::kFeatureMac, 2, 100);  // not mergeable
  machine.arrive(std::string(200, 'x'));
  machine.arrive("fits");
  const auto received = machine.receive();
  ASSERT_EQ(received.size(), 1u);
  EXPECT_EQ(received[0].bytes, padded("fits"));
  EXPECT_EQ(received[0].header.num_buffers, 1);
  EXPECT_EQ(machine.device->counts().received_lost, 1u);

  NetMachine tiny;
  tiny.start(NetMachine::kAll, 64, 12);  // a whole ring of them
  tiny.arrive(std::string(2000, 'x'));
  tiny.arrive("fits");
  EXPECT_EQ(tiny.receive().at(0).bytes, padded("fits"));
  EXPECT_EQ(tiny.device->counts().received_lost, 1u);
}

TEST(NetDevice, TooLargeAndTooShortFramesOfTheTapAreLost) {
  NetMachine machine;
  machine.start(NetMachine::kAll, 60);
  machine.arrive(frame_of(std::string(net::kMaxFrame, 'x')));
  machine.arrive(Frame{.header = {}, .bytes = "short"});
  machine.arrive("good");
  EXPECT_EQ(machine.receive().at(0).bytes, padded("good"));
  EXPECT_EQ(machine.device->counts().received_lost, 2u);
}

TEST(NetDevice, FullTapStopsTheGuestAndLosesNothing) {
  NetMachine machine;
  machine.start();
  const int small = 1;
  ASSERT_EQ(::setsockopt(machine.host.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
  std::vector<std::string> sent;
  // Some are in the tap, and then the guest's ring fills.
  while (machine.guest.sending(machine.memory) < 20) {
    ASSERT_LT(sent.size(), 5000u) << "the tap takes everything";
    sent.push_back(padded("frame " + std::to_string(sent.size()) + std::string(1000, '.')));
    machine.send(sent.back());
  }
  machine.io.restart();
  EXPECT_EQ(machine.io.poll(), 0u) << "the device polls a full tap";
  std::vector<std::string> left;
  while (left.size() < sent.size()) {
    const auto more = machine.all_that_left();
    left.insert(left.end(), more.begin(), more.end());
    machine.poll();
    ASSERT_FALSE(more.empty()) << left.size() << " of " << sent.size();
  }
  EXPECT_EQ(left, sent);
  EXPECT_EQ(machine.guest.sending(machine.memory), 0u);
  EXPECT_EQ(machine.device->counts().sent_lost, 0u);
}

TEST(NetDevice, TapThatIsGoneIsALinkThatIsDown) {
  NetMachine machine;
  machine.start();
  const int raised = machine.line.raised;
  machine.host.reset();
  machine.poll();
  EXPECT_EQ(machine.config().status, 0) << "the link is up";
  EXPECT_GT(machine.line.raised, raised);
  EXPECT_NE(machine.registers->read(kRegisterInterruptStatus) & kInterruptConfig, 0u);
  machine.send("to nobody");
  EXPECT_EQ(machine.guest.sending(machine.memory), 0u);
  EXPECT_EQ(machine.device->counts().sent_lost, 1u);
}

TEST(NetDevice, MalformedQueuesNeedAReset) {
  {
    NetMachine machine;
    machine.start(NetMachine::kAll, 1, 11);
    machine.arrive("no room for a header");
    EXPECT_TRUE(machine.needs_reset());
    // A new driver finds a device that works.
    machine.guest = {};
    machine.start();
    machine.arrive("again");
    EXPECT_EQ(machine.receive().back().bytes, padded("again"));
  }
  {
    NetMachine machine;
    machine.start(NetMachine::kAll, 0);
    machine.guest.receive_queue().add(machine.memory,
                                      {{.address = FakeNetGuest::kReceive, .length = 1536}});
    machine.registers->notify(0);
    machine.arrive("into a buffer that is only read");
    EXPECT_TRUE(machine.needs_reset());
  }
  {
    NetMachine machine;
    machine.start();
    machine.guest.send_queue().add(
        machine.memory, {{.address = FakeNetGuest::kSend, .length = 64, .writable = true}});
    machine.registers->notify(1);
    machine.poll();
    EXPECT_TRUE(machine.needs_reset());
  }
}

TEST(NetDevice, DriverThatStartsAnewFindsNothingOfTheOneBefore) {
  NetMachine machine;
  machine.start(NetMachine::kAll, 0);
  machine.arrive("for the first one");
  machine.guest = {};
  machine.start();
  machine.arrive("for the second");
  const auto received = machine.receive();
  ASSERT_EQ(received.size(), 1u);
  EXPECT_EQ(received[0].bytes, padded("for the second"));
}

TEST(NetDevice, DriverWithoutAControlQueueDoesNotSetOneUp) {
  NetMachine machine;
  machine.start(NetMachine::kAll & ~net::kFeatureControlQueue);
  machine.registers->notify(2);
  machine.send("one");
  EXPECT_THAT(machine.all_that_left(), ElementsAre(padded("one")));
  EXPECT_FALSE(machine.needs_reset());

  NetMachine forgetful;
  forgetful.guest.set_up(*forgetful.registers, 0);
  forgetful.registers->negotiate(kFeatureVersion1 | net::kFeatureControlQueue);
  forgetful.registers->set_up(0, forgetful.guest.receive_queue());
  forgetful.registers->set_up(1, forgetful.guest.send_queue());
  forgetful.registers->go();
  forgetful.poll();
  EXPECT_TRUE(forgetful.needs_reset());
}

TEST(NetDevice, ControlCommandsAreAnsweredOrRefused) {
  NetMachine machine;
  machine.start();
  EXPECT_EQ(machine.control({"\3\0", 2}), net::kControlOk);
  EXPECT_EQ(machine.control({"\3\1", 2}), net::kControlError);
  EXPECT_EQ(machine.control({"\0\0\1", 3}), net::kControlError) << "promiscuous mode";
  EXPECT_EQ(machine.control("\3"), net::kControlError) << "cut short";
  EXPECT_EQ(machine.control({"\3\0\0", 3}), net::kControlError) << "too long";
  EXPECT_EQ(machine.control(""), net::kControlError);
  EXPECT_FALSE(machine.needs_reset());
  EXPECT_FALSE(machine.control({"\3\0", 2}, false));
  EXPECT_TRUE(machine.needs_reset()) << "no place for the answer";
}

}  // namespace
}  // namespace clonesafe::virtio
