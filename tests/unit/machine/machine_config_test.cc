#include "vmm_device/machine/machine_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace clonesafe {
namespace {

using testing::HasSubstr;
using testing::Not;

MachineConfig sample() {
  return {.memory = std::uint64_t{512} << 20,
          .cpus = 4,
          .masked_features = {"rdrand", "rdseed"},
          .generation = {.vmgenid = true,
                         .vmclock = false,
                         .restore_page = true,
                         .seed = false,
                         .registered_page = false},
          .vsock_cid = 7};
}

TEST(MachineConfig, ComesBackAsItWas) {
  const auto config = decode_machine_config(encode(sample()));
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->memory, std::uint64_t{512} << 20);
  EXPECT_EQ(config->cpus, 4u);
  EXPECT_EQ(config->vsock_cid, 7u);
  EXPECT_EQ(config->masked_features, sample().masked_features);
  EXPECT_EQ(config->generation, sample().generation);
}

TEST(MachineConfig, RefusesEveryTruncation) {
  const auto bytes = encode(sample());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_machine_config(std::span(bytes).first(size))) << size;
}

TEST(MachineConfig, RefusesWhatNoMachineCanBeMadeOf) {
  const auto refusal = [](const MachineConfig& config) {
    const auto decoded = decode_machine_config(encode(config));
    return decoded ? "accepted" : decoded.error().message();
  };
  MachineConfig config = sample();
  config.cpus = 0;
  EXPECT_THAT(refusal(config), HasSubstr("0 virtual CPUs"));
  config.cpus = kMaxCpus + 1;
  EXPECT_THAT(refusal(config), HasSubstr("virtual CPUs"));
  config = sample();
  config.memory = 4096;
  EXPECT_THAT(refusal(config), HasSubstr("memory of 4096 bytes"));
  config.memory = (std::uint64_t{512} << 20) + 1;
  EXPECT_THAT(refusal(config), HasSubstr("whole pages"));
  config = sample();
  config.vsock_cid = 2;
  EXPECT_THAT(refusal(config), HasSubstr("cid 2"));
}

TEST(MachineConfig, HasAtMostEightDisksWithSerialsThatFit) {
  MachineConfig config = sample();
  config.disks.resize(kMaxDisks, {.serial = "exactly-20-letters-x"});
  EXPECT_TRUE(check(config));
  config.disks.emplace_back();
  EXPECT_THAT(check(config).error().message(), HasSubstr("9 disks: at most 8"));
  for (const char* serial : {"a serial of 21 chars.", "exactly-21-letters-xy", "a b", "\x1b[2J"}) {
    config.disks = {{.serial = serial}};
    EXPECT_FALSE(check(config)) << serial;
  }
}

const std::vector<NetConfig> kNets = {{.tap = "vm0", .mac = {{2, 0, 0, 0, 0, 1}}},
                                      {.tap = "vm1", .mac = {{2, 0, 0, 0, 0, 2}}}};

TEST(NetworkDevices, ComeBackAsTheyWere) {
  const auto nets = decode_nets(encode(std::span(kNets)));
  ASSERT_TRUE(nets) << nets.error().message();
  ASSERT_EQ(nets->size(), 2u);
  EXPECT_EQ(nets->at(1).tap, "vm1");
  EXPECT_EQ(nets->at(1).mac, kNets[1].mac);
}

TEST(NetworkDevices, RefuseDamage) {
  const auto bytes = encode(std::span(kNets));
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_nets(std::span(bytes).first(size))) << size;
  const auto refusal = [](std::vector<NetConfig> nets) {
    const auto decoded = decode_nets(encode(std::span<const NetConfig>(nets)));
    return decoded ? "accepted" : decoded.error().message();
  };
  EXPECT_THAT(refusal({}), HasSubstr("0 network devices"));
  EXPECT_THAT(refusal(std::vector<NetConfig>(5, kNets[0])), HasSubstr("5 network devices"));
  EXPECT_THAT(refusal({{.tap = "\x1b[2Jboo", .mac = kNets[0].mac}}), Not(HasSubstr("boo")));
  EXPECT_THAT(refusal({{.tap = "vm0", .mac = {{1, 0, 0, 0, 0, 1}}}}), HasSubstr("group"));
}

TEST(MachineConfig, HasRoomForItsDevices) {
  MachineConfig config = sample();
  config.disks.resize(8);
  config.nets.assign(2, kNets[0]);
  EXPECT_TRUE(check(config));
  config.nets.assign(3, kNets[0]);
  EXPECT_THAT(check(config).error().message(), HasSubstr("13 virtio devices: at most 12"));
  config.disks.clear();
  config.nets.assign(5, kNets[0]);
  EXPECT_THAT(check(config).error().message(), HasSubstr("5 network devices: at most 4"));
}

TEST(MachineConfig, DoesNotPrintForeignNames) {
  MachineConfig config = sample();
  config.masked_features = {"\x1b[2Jboo"};
  const auto decoded = decode_machine_config(encode(config));
  ASSERT_FALSE(decoded);
  EXPECT_THAT(decoded.error().message(), Not(HasSubstr("boo")));
}

TEST(MachineConfig, BalloonComesBackAsItWasAndNothingElse) {
  for (const bool reporting : {false, true}) {
    const auto balloon = decode_balloon(encode(BalloonConfig{.reporting = reporting}));
    ASSERT_TRUE(balloon) << balloon.error().message();
    EXPECT_EQ(balloon->reporting, reporting);
  }
  EXPECT_FALSE(decode_balloon({}));
  EXPECT_FALSE(decode_balloon(std::vector{std::byte{0}, std::byte{0}}));
  const auto unknown = decode_balloon(std::vector{std::byte{2}});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().message(), "balloon, byte 1: unknown flags");
}

TEST(MachineConfig, BalloonTakesOneOfTheSlots) {
  MachineConfig config = sample();
  config.disks.resize(kMaxDisks);
  config.nets.assign(2, {.tap = "vm0", .mac = {{2, 0, 0, 0, 0, 1}}});
  EXPECT_TRUE(check(config)) << check(config).error().message();
  config.balloon = BalloonConfig{};
  const auto refused = check(config);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("13 virtio devices: at most 12"));
}

}  // namespace
}  // namespace clonesafe
