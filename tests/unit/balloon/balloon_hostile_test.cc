// The balloon with a driver that breaks the rules, or gives more than one turn can take.
#include "tests/unit/balloon/balloon_fixture.h"

namespace clonesafe::virtio {
namespace {

TEST(BalloonHostile, PagesThatAreNoneOfTheGuestsAreRefused) {
  BalloonMachine machine;
  machine.start();
  machine.use(kFirst, 2);
  constexpr std::uint32_t kEnd = kFirst + BalloonMachine::kPages;
  machine.request(balloon::kInflateQueue,
                  {0, (FakeMemory::kStart >> 12) - 1, kEnd, kEnd + 1, 0xfeff0, 0xffffffff,
                   0xfffffffe, kFirst + 1, kFirst + 1, kEnd - 1});
  machine.poll();
  EXPECT_TRUE(machine.answered(balloon::kInflateQueue));
  EXPECT_FALSE(machine.needs_reset());
  EXPECT_EQ(machine.device.counts().inflated, 2u);
  EXPECT_EQ(machine.device.counts().refused, 8u) << "one of them was given twice";
  EXPECT_TRUE(machine.is(kFirst, kUsed));
  EXPECT_TRUE(machine.is(kFirst + 1, std::byte{0}));
}

TEST(BalloonHostile, PagesThatMustStayDo) {
  BalloonMachine machine({.reporting = true, .kept = [] {
                            return std::vector<std::uint64_t>{kFirst + 1, kFirst + 5};
                          }});
  machine.start();
  machine.use(kFirst, 8);
  machine.request(balloon::kInflateQueue, {kFirst, kFirst + 1, kFirst + 2});
  machine.report(
      {{.address = std::uint64_t{kFirst + 4} << 12, .length = 3 << 12, .writable = true}});
  machine.poll();
  EXPECT_TRUE(machine.answered(balloon::kInflateQueue));
  EXPECT_TRUE(machine.answered(3));
  for (const std::uint32_t page : {1u, 3u, 5u, 7u})
    EXPECT_TRUE(machine.is(kFirst + page, kUsed)) << page;
  for (const std::uint32_t page : {0u, 2u, 4u, 6u})
    EXPECT_TRUE(machine.is(kFirst + page, std::byte{0})) << page;
}

TEST(BalloonHostile, RequestsOfAnotherFormStopTheDevice) {
  const auto stopped = [](auto ask) {
    BalloonMachine machine;
    machine.start();
    machine.use(kFirst);
    ask(machine);
    machine.poll();
    EXPECT_TRUE(machine.is(kFirst, kUsed));
    return machine.needs_reset();
  };
  const std::uint64_t at = std::uint64_t{kFirst} << 12;
  const std::vector<std::byte> bytes(6, std::byte{1});
  EXPECT_TRUE(stopped([&](auto& machine) { machine.request(0, bytes); })) << "half a number";
  EXPECT_TRUE(stopped([&](auto& machine) { machine.request(0, std::span(bytes).first(4), true); }))
      << "numbers to be written";
  EXPECT_TRUE(stopped([&](auto& machine) { machine.report({{.address = at, .length = 4096}}); }))
      << "pages that are only to be read";
  EXPECT_TRUE(stopped([&](auto& machine) {
    machine.report({{.address = 0xfeff0000, .length = 4096, .writable = true}});
  })) << "outside the guest's memory";
  EXPECT_TRUE(stopped([&](auto& machine) {
    machine.report({{.address = at, .length = 0xfffff000, .writable = true}});
  })) << "past the end of it";
}

TEST(BalloonHostile, QueuesThatAreNotSetUpAreNotTouched) {
  BalloonMachine machine;
  machine.start(kFeatureIndirectDescriptors);
  for (std::uint32_t queue = 0; queue < 6; ++queue) machine.registers.notify(queue);
  machine.poll();
  EXPECT_FALSE(machine.needs_reset());
  EXPECT_FALSE(machine.device.ask_statistics());
}

TEST(BalloonHostile, ReportsThatWereNotNegotiatedAreNotTaken) {
  BalloonMachine machine;
  machine.registers.negotiate(kFeatureVersion1 | balloon::kFeatureStatistics);
  for (const std::uint32_t queue : {0u, 1u, 2u, 3u})
    machine.registers.set_up(queue, machine.guest.queues[queue]);
  machine.registers.go();
  machine.use(kFirst);
  machine.report({{.address = std::uint64_t{kFirst} << 12, .length = 4096, .writable = true}});
  machine.poll();
  EXPECT_FALSE(machine.answered(3));
  EXPECT_TRUE(machine.is(kFirst, kUsed));
}

// Numbers of all its pages, some of them three times.
std::vector<std::uint32_t> long_list() {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t i = 0; i < 3 * BalloonMachine::kPages; ++i)
    numbers.push_back(kFirst + i % BalloonMachine::kPages);
  return numbers;
}

TEST(BalloonHostile, ALongListIsTakenInTurns) {
  BalloonMachine machine;
  machine.start();
  machine.use(kFirst, BalloonMachine::kPages);
  machine.request(balloon::kInflateQueue, long_list());
  machine.io.restart();
  machine.io.poll_one();
  EXPECT_FALSE(machine.answered(balloon::kInflateQueue)) << "all in one turn";
  EXPECT_GT(machine.device.counts().inflated, 0u);
  machine.poll();
  EXPECT_TRUE(machine.answered(balloon::kInflateQueue));
  EXPECT_FALSE(machine.answered(balloon::kInflateQueue));
  for (std::uint32_t page = 0; page < BalloonMachine::kPages; page += 97)
    EXPECT_TRUE(machine.is(kFirst + page, std::byte{0})) << page;
  // The next one begins at its beginning.
  machine.use(kFirst);
  machine.request(balloon::kInflateQueue, {kFirst});
  machine.poll();
  EXPECT_TRUE(machine.is(kFirst, std::byte{0}));
}

TEST(BalloonHostile, ALongReportIsTakenInTurns) {
  BalloonMachine machine;
  machine.start();
  machine.use(kFirst, BalloonMachine::kPages);
  // 480 MiB of 15, with a page of its own at the end.
  std::vector<Part> parts(32, {.address = std::uint64_t{kFirst} << 12,
                               .length = (BalloonMachine::kPages - 1) << 12,
                               .writable = true});
  parts.push_back({.address = std::uint64_t{kFirst + BalloonMachine::kPages - 1} << 12,
                   .length = 4096,
                   .writable = true});
  machine.report(parts);
  machine.io.restart();
  machine.io.poll_one();
  EXPECT_FALSE(machine.answered(3)) << "all in one turn";
  EXPECT_TRUE(machine.is(kFirst, std::byte{0}));
  EXPECT_TRUE(machine.is(kFirst + BalloonMachine::kPages - 1, kUsed));
  machine.poll();
  EXPECT_TRUE(machine.answered(3));
  EXPECT_TRUE(machine.is(kFirst + BalloonMachine::kPages - 1, std::byte{0}));
}

TEST(BalloonHostile, ManyShortRequestsAreTakenInTurns) {
  BalloonMachine machine;
  machine.start();
  // Each is answered once; a turn takes at most some hundred, and a queue has 64 at a time.
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 60; ++i) machine.request(i % 2 == 0 ? 0 : 1, {kFirst});
    machine.poll();
    for (int i = 0; i < 60; ++i) EXPECT_TRUE(machine.answered(i % 2 == 0 ? 0 : 1));
  }
  EXPECT_EQ(machine.device.counts().inflated, 600u);
}

TEST(BalloonHostile, AListThatShrinksBetweenTwoTurnsIsAnswered) {
  BalloonMachine machine;
  machine.start();
  const std::uint64_t descriptor = machine.guest.queues[0].descriptors();
  machine.request(balloon::kInflateQueue, long_list());
  machine.io.restart();
  machine.io.poll_one();
  auto changed = machine.memory.read<Descriptor>(GuestAddress(descriptor)).value();
  changed.length = 4;
  ASSERT_TRUE(machine.memory.write(GuestAddress(descriptor), changed));
  machine.poll();
  EXPECT_TRUE(machine.answered(balloon::kInflateQueue));
  EXPECT_FALSE(machine.needs_reset());
}

TEST(BalloonHostile, AResetBetweenTwoTurnsForgetsTheRequest) {
  BalloonMachine machine;
  machine.start();
  machine.request(balloon::kInflateQueue, long_list());
  machine.io.restart();
  machine.io.poll_one();
  machine.guest = {};
  std::ranges::fill(machine.memory.at(GuestAddress(FakeMemory::kStart), 0x10000).value(),
                    std::byte{0});
  machine.start();
  machine.use(kFirst);
  machine.request(balloon::kInflateQueue, {kFirst});
  machine.poll();
  EXPECT_TRUE(machine.answered(balloon::kInflateQueue));
  EXPECT_TRUE(machine.is(kFirst, std::byte{0})) << "its beginning was skipped";
}

// A snapshot in the middle of a request: it is in the queue still, and the clone does all of it.
TEST(BalloonHostile, APauseBetweenTwoTurnsLosesNothing) {
  BalloonMachine source;
  source.start();
  source.use(kFirst, BalloonMachine::kPages);
  source.request(balloon::kInflateQueue, long_list());
  source.io.restart();
  source.io.poll_one();
  const auto clone = clone_of(source);
  source.poll();
  EXPECT_FALSE(source.answered(balloon::kInflateQueue)) << "worked while it was paused";
  for (BalloonMachine* machine : {clone.get(), &source}) {
    machine->transport->resume();
    machine->poll();
    EXPECT_TRUE(machine->answered(balloon::kInflateQueue));
    EXPECT_FALSE(machine->answered(balloon::kInflateQueue));
    EXPECT_FALSE(machine->needs_reset());
    for (std::uint32_t page = 0; page < BalloonMachine::kPages; page += 97)
      EXPECT_TRUE(machine->is(kFirst + page, std::byte{0})) << page;
  }
}

TEST(BalloonHostile, RingsThatTheGuestGivesAwayStopNothingElse) {
  BalloonMachine machine;
  machine.start();
  machine.request(balloon::kInflateQueue,
                  {FakeMemory::kStart >> 12, (FakeMemory::kStart >> 12) + 1});
  machine.poll();
  machine.registers.notify(0);
  machine.poll();
  // It reads zeros there, as if the guest had written them.
  machine.guest = {};
  machine.start();
  machine.use(kFirst);
  machine.request(balloon::kInflateQueue, {kFirst});
  machine.poll();
  EXPECT_TRUE(machine.is(kFirst, std::byte{0}));
}

}  // namespace
}  // namespace clonesafe::virtio
