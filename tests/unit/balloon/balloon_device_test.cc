#include "tests/unit/balloon/balloon_fixture.h"

namespace clonesafe::virtio {
namespace {

using testing::ElementsAre;

TEST(BalloonDevice, OffersReportsOnlyIfAskedAndNeverHints) {
  constexpr std::uint64_t kMustTellHost = 1u << 0;
  constexpr std::uint64_t kFreePageHint = 1u << 3;
  const BalloonMachine plain(BalloonOptions{});
  const BalloonMachine reporting;
  EXPECT_EQ(reporting.device.features(), plain.device.features() | balloon::kFeaturePageReporting);
  EXPECT_EQ(plain.device.features() & balloon::kFeaturePageReporting, 0u);
  EXPECT_EQ(reporting.device.features() & (kMustTellHost | kFreePageHint), 0u);
  // The driver refuses to report with less (PAGE_REPORTING_CAPACITY).
  EXPECT_GE(reporting.device.queue_sizes()[4], 32);
}

TEST(BalloonDevice, InflatedPagesAreZerosOnceTheDriverHears) {
  BalloonMachine machine;
  machine.start();
  machine.use(kFirst, 6);
  machine.request(balloon::kInflateQueue, {kFirst + 4, kFirst + 1, kFirst + 2});
  EXPECT_FALSE(machine.answered(balloon::kInflateQueue));
  EXPECT_TRUE(machine.is(kFirst + 1, kUsed));
  machine.poll();
  EXPECT_TRUE(machine.answered(balloon::kInflateQueue));
  for (const std::uint32_t page : {1u, 2u, 4u})
    EXPECT_TRUE(machine.is(kFirst + page, std::byte{0})) << page;
  for (const std::uint32_t page : {0u, 3u, 5u})
    EXPECT_TRUE(machine.is(kFirst + page, kUsed)) << page;
  EXPECT_EQ(machine.device.counts().inflated, 3u);
  EXPECT_EQ(machine.device.counts().discarded, 3u);
  // What an incremental snapshot must have.
  EXPECT_TRUE(machine.written.contains(kFirst + 4 - (FakeMemory::kStart >> 12)));
}

TEST(BalloonDevice, PageThatComesBackIsTheGuestsAgain) {
  BalloonMachine machine;
  machine.start();
  machine.request(balloon::kInflateQueue, {kFirst});
  machine.poll();
  machine.request(balloon::kDeflateQueue, {kFirst});
  machine.poll();
  EXPECT_TRUE(machine.answered(balloon::kDeflateQueue));
  EXPECT_EQ(machine.device.counts().deflated, 1u);
  machine.use(kFirst);
  machine.request(balloon::kInflateQueue, {kFirst + 1});
  machine.poll();
  EXPECT_TRUE(machine.is(kFirst, kUsed));
}

TEST(BalloonDevice, ReportedPagesAreZerosOnceTheDriverHears) {
  // 5.5.2 numbers the queue 4; Linux leaves no gap where a queue isn't there.
  for (const std::size_t queue : {3u, 4u}) {
    BalloonMachine machine;
    machine.start(kAllFeatures, queue);
    machine.use(kFirst, 8);
    machine.report(
        {{.address = std::uint64_t{kFirst} << 12, .length = 2 << 12, .writable = true},
         {.address = std::uint64_t{kFirst + 5} << 12, .length = 1 << 12, .writable = true}},
        queue);
    machine.poll();
    EXPECT_TRUE(machine.answered(queue)) << queue;
    for (const std::uint32_t page : {0u, 1u, 5u})
      EXPECT_TRUE(machine.is(kFirst + page, std::byte{0})) << page;
    for (const std::uint32_t page : {2u, 3u, 4u, 6u})
      EXPECT_TRUE(machine.is(kFirst + page, kUsed)) << page;
    EXPECT_EQ(machine.device.counts().reported, 3u);
  }
}

TEST(BalloonDevice, ReportsWithoutAStatisticsQueueAreTaken) {
  BalloonMachine machine;
  machine.start(balloon::kFeaturePageReporting, 2);
  machine.use(kFirst, 1);
  machine.report({{.address = std::uint64_t{kFirst} << 12, .length = 1 << 12, .writable = true}},
                 2);
  machine.poll();
  EXPECT_TRUE(machine.answered(2));
  EXPECT_TRUE(machine.is(kFirst, std::byte{0}));
  EXPECT_FALSE(machine.device.ask_statistics());
}

// 5.5.6.7: a page that the guest filled with a value may become no other.
TEST(BalloonDevice, ReportedPagesWithAPoisonStayAsTheyAre) {
  BalloonMachine machine;
  const std::uint64_t features = kAllFeatures | balloon::kFeaturePagePoison;
  const std::vector<Part> page = {
      {.address = std::uint64_t{kFirst} << 12, .length = 1 << 12, .writable = true}};
  machine.write_config(offsetof(balloon::Config, poison_val), 0xaaaaaaaa);
  machine.start(features);
  // A reset takes the value away; the driver writes it before DRIVER_OK.
  machine.write_config(offsetof(balloon::Config, poison_val), 0x5a5a5a5a);
  EXPECT_EQ(machine.device.poison(), 0x5a5a5a5au);
  machine.use(kFirst, 2);
  machine.report(page);
  machine.poll();
  EXPECT_TRUE(machine.answered(3));
  EXPECT_TRUE(machine.is(kFirst, kUsed));
  EXPECT_EQ(machine.device.counts().discarded, 0u);
  // Of the balloon itself it says nothing: the driver fills a page when it comes back.
  machine.request(balloon::kInflateQueue, {kFirst + 1});
  machine.poll();
  EXPECT_TRUE(machine.is(kFirst + 1, std::byte{0}));

  machine.start(features);
  machine.report(page);
  machine.poll();
  EXPECT_TRUE(machine.is(kFirst, std::byte{0})) << "pages that are filled with 0 may be discarded";
}

TEST(BalloonDevice, TellsTheDriverItsTarget) {
  BalloonMachine machine;
  machine.start();
  const auto generation = machine.registers.read(kRegisterConfigGeneration);
  const int raised = machine.line.raised;
  machine.device.set_target(70'000);
  EXPECT_EQ(machine.target(), 70'000u);
  EXPECT_NE(machine.registers.read(kRegisterConfigGeneration), generation);
  EXPECT_EQ(machine.line.raised, raised + 1);
  EXPECT_EQ(machine.registers.read(kRegisterInterruptStatus) & kInterruptConfig, kInterruptConfig);
}

TEST(BalloonDevice, TheDriverWritesTwoFieldsWhole) {
  BalloonMachine machine;
  machine.start();
  machine.device.set_target(5);
  machine.set_actual(3);
  machine.write_config(offsetof(balloon::Config, num_pages), 99);
  machine.write_config(offsetof(balloon::Config, free_page_hint_cmd_id), 99);
  machine.write_config(sizeof(balloon::Config), 99);
  machine.write_config(2, 99);
  const std::uint16_t half = 99;
  machine.transport->write(kRegisterConfig + offsetof(balloon::Config, actual),
                           std::as_bytes(std::span(&half, 1)));
  EXPECT_EQ(machine.target(), 5u);
  EXPECT_EQ(machine.config(offsetof(balloon::Config, actual)), 3u);
  EXPECT_EQ(machine.config(offsetof(balloon::Config, free_page_hint_cmd_id)), 0u);
  EXPECT_EQ(machine.config(offsetof(balloon::Config, poison_val)), 0u);
  EXPECT_EQ(machine.device.pages(), 3u);
}

TEST(BalloonDevice, TheObserverHearsOfDriverPagesAndStatistics) {
  BalloonMachine machine;
  std::vector<std::string> heard;
  machine.device.set_observer([&] {
    heard.push_back(std::to_string(machine.device.active()) + " " +
                    std::to_string(machine.device.pages()) + " " +
                    std::to_string(machine.device.statistics_told()));
  });
  machine.start();
  EXPECT_EQ(heard.back(), "1 0 0");
  heard = {"1 0 0"};
  machine.put_statistics({});
  machine.poll();
  machine.set_actual(256);
  EXPECT_EQ(heard.size(), 1u) << "not on the vCPU's thread";
  machine.poll();
  machine.poll();
  ASSERT_TRUE(machine.device.ask_statistics());
  machine.put_statistics({});
  machine.poll();
  machine.registers.negotiate();
  machine.poll();
  EXPECT_THAT(heard, ElementsAre("1 0 0", "1 256 0", "1 256 1", "0 0 1"));
}

TEST(BalloonDevice, StatisticsComeWhenAskedFor) {
  BalloonMachine machine;
  machine.start();
  machine.put_statistics({{.tag = balloon::kStatisticFree, .value = 1}});
  machine.poll();
  EXPECT_FALSE(machine.answered(balloon::kStatisticsQueue)) << "nobody asked";
  EXPECT_EQ(machine.device.statistics_told(), 0u);
  for (const std::uint64_t round : {1u, 2u}) {
    ASSERT_TRUE(machine.device.ask_statistics());
    EXPECT_TRUE(machine.answered(balloon::kStatisticsQueue));
    machine.put_statistics({{.tag = 77, .value = 1},
                            {.tag = balloon::kStatisticTotal, .value = 4'000 * round},
                            {.tag = balloon::kStatisticAvailable, .value = 2'000},
                            {.tag = balloon::kStatisticFree, .value = 1'000},
                            {.tag = balloon::kStatisticCaches, .value = 500}});
    machine.poll();
    EXPECT_EQ(machine.device.statistics_told(), round);
    EXPECT_FALSE(machine.answered(balloon::kStatisticsQueue)) << "the guest is asked all the time";
    EXPECT_EQ(machine.device.statistics().total, 4'000 * round);
    EXPECT_EQ(machine.device.statistics().available, 2'000u);
    EXPECT_EQ(machine.device.statistics().free, 1'000u);
    EXPECT_EQ(machine.device.statistics().caches, 500u);
  }
  // Asking twice before the driver answers is asking once.
  ASSERT_TRUE(machine.device.ask_statistics());
  ASSERT_TRUE(machine.device.ask_statistics());
  EXPECT_TRUE(machine.answered(balloon::kStatisticsQueue));
  EXPECT_FALSE(machine.answered(balloon::kStatisticsQueue));
  machine.put_statistics({{.tag = balloon::kStatisticFree, .value = 7}});
  machine.poll();
  EXPECT_EQ(machine.device.statistics_told(), 3u);
  EXPECT_FALSE(machine.device.statistics().total) << "a figure of an earlier answer";
}

TEST(BalloonDevice, StateComesBackAsItWas) {
  BalloonMachine source;
  source.start(kAllFeatures | balloon::kFeaturePagePoison);
  source.write_config(offsetof(balloon::Config, poison_val), 7);
  source.device.set_target(300);
  source.set_actual(256);
  source.request(balloon::kInflateQueue, {kFirst});  // still in the queue
  source.use(kFirst);
  const auto clone = clone_of(source);
  EXPECT_EQ(clone->target(), 300u);
  EXPECT_EQ(clone->device.pages(), 256u);
  EXPECT_EQ(clone->device.poison(), 7u);
  EXPECT_TRUE(clone->is(kFirst, kUsed));
  clone->transport->resume();
  clone->poll();
  EXPECT_TRUE(clone->device.active());
  EXPECT_TRUE(clone->answered(balloon::kInflateQueue));
  EXPECT_TRUE(clone->is(kFirst, std::byte{0})) << "what the snapshot has came back";
  EXPECT_TRUE(source.is(kFirst, kUsed)) << "the source is paused";
  // A balloon that is told to be empty gives all of it back in the clone too.
  clone->device.set_target(0);
  EXPECT_EQ(clone->target(), 0u);
}

TEST(BalloonDevice, WhatACloneWipedDoesNotComeBack) {
  BalloonMachine source;
  source.use(kFirst, 2);
  source.start();
  const auto clone = clone_of(source);
  clone->transport->resume();
  clone->poll();
  std::ranges::fill(clone->page(kFirst, 2), std::byte{0});
  clone->request(balloon::kInflateQueue, {kFirst});
  clone->report(
      {{.address = std::uint64_t{kFirst + 1} << 12, .length = 1 << 12, .writable = true}});
  clone->poll();
  EXPECT_TRUE(clone->answered(balloon::kInflateQueue));
  EXPECT_TRUE(clone->answered(3));
  EXPECT_TRUE(clone->is(kFirst, std::byte{0}));
  EXPECT_TRUE(clone->is(kFirst + 1, std::byte{0}));
}

TEST(BalloonDevice, RefusesStatesThatAreCutOrTooLarge) {
  BalloonMachine source;
  StateEncoder state;
  source.device.save(state);
  for (std::size_t size = 0; size < state.bytes().size(); ++size) {
    BalloonMachine machine;
    StateDecoder decoder("balloon", std::span(state.bytes()).first(size));
    EXPECT_FALSE(machine.device.restore(decoder)) << size;
  }
  StateEncoder large;
  large.put(std::uint32_t{(BalloonMachine::kSize >> 12) + 1});
  large.put(std::uint32_t{0});
  large.put(std::uint32_t{0});
  BalloonMachine machine;
  StateDecoder decoder("balloon", large.bytes());
  const auto refused = machine.device.restore(decoder);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("balloon, byte 12: a balloon of 4097"));
}

}  // namespace
}  // namespace clonesafe::virtio
