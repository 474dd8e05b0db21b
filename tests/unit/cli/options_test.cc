#include "vmm_device/cli/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clonesafe/abi/host_protocol.h"
#include "vmm_device/cli/nets.h"

namespace clonesafe::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ParseSize, TakesPowersOf1024) {
  EXPECT_EQ(*parse_size("1K"), 1024u);
  EXPECT_EQ(*parse_size("256M"), std::uint64_t{256} << 20);
  EXPECT_EQ(*parse_size("2G"), std::uint64_t{2} << 30);
}

TEST(ParseSize, RefusesEverythingElse) {
  for (const char* text : {"", "M", "256", "-1M", "256MB", "1.5G", " 1M", "0M", "1m", "0x10M",
                           "18446744073709551615G", "99999999999999999999M"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_THAT(size.error().message(), HasSubstr(std::string("'") + text + "'"));
  }
}

TEST(ParseVsock, TakesCidAndPath) {
  const auto vsock = parse_vsock("cid=7,path=/run/a,b.sock");
  ASSERT_TRUE(vsock) << vsock.error().message();
  EXPECT_EQ(vsock->cid, 7u);
  EXPECT_EQ(vsock->path, "/run/a,b.sock") << "a path may hold a comma";
}

TEST(ParseVsock, RefusesWhatIsMissingOrWrong) {
  for (const char* text : {"", "cid=3", "path=/x", "cid=2,path=/x", "cid=abc,path=/x",
                           "cid=3,port=4,path=/x", "cid=4294967295,path=/x", "cid=3,path="})
    EXPECT_FALSE(parse_vsock(text)) << text;
}

TEST(ParseDisk, TakesItsParts) {
  const auto plain = parse_disk("/srv/a.img");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->image, "/srv/a.img");
  EXPECT_FALSE(plain->read_only);
  EXPECT_EQ(plain->layer, DiskArgument::Layer::kNone);
  EXPECT_TRUE(parse_disk("a.img,ro")->read_only);
  EXPECT_EQ(parse_disk("a.img,layer=temporary")->layer, DiskArgument::Layer::kTemporary);
  const auto all = parse_disk("a.img,serial=root,layer=b.layer");
  ASSERT_TRUE(all);
  EXPECT_EQ(all->layer, DiskArgument::Layer::kFile);
  EXPECT_EQ(all->layer_file, "b.layer");
  EXPECT_EQ(all->serial, "root");
}

TEST(ParseDisk, RefusesWhatIsMissingOrWrong) {
  for (const char* text : {"", ",ro", "a,rw", "a,layer=", "a,ro,layer=b", "a,layer=temporary,ro",
                           "a,serial=more-than-twenty-characters", "a,serial=\x1b"}) {
    const auto disk = parse_disk(text);
    ASSERT_FALSE(disk) << text;
    EXPECT_THAT(disk.error().message(), HasSubstr(std::string("'") + text + "': "));
  }
}

TEST(ParseNet, TakesTapAddressAndNamespace) {
  const auto net = parse_net("tap=vm0,mac=52:54:00:12:34:56,netns=guests");
  ASSERT_TRUE(net) << net.error().message();
  EXPECT_EQ(net->tap, "vm0");
  EXPECT_EQ(net->network_namespace, "guests");
  EXPECT_EQ(net->mac, NetArgument::Mac::kGiven);
  EXPECT_EQ(network::to_string(net->address), "52:54:00:12:34:56");
  EXPECT_EQ(parse_net("tap=vm0")->mac, NetArgument::Mac::kNew);
}

TEST(ParseNet, ClonesHavePatternsAndMayKeepTheirAddress) {
  const auto net = parse_clones_net("tap=vm%d,mac=keep,netns=cs%d");
  ASSERT_TRUE(net) << net.error().message();
  EXPECT_EQ(net->mac, NetArgument::Mac::kKeep);
  const NetArgument third = of_clone(*net, 13);
  EXPECT_EQ(third.tap, "vm13");
  EXPECT_EQ(third.network_namespace, "cs13");
}

TEST(ParseNet, RefusesWhatIsMissingOrWrong) {
  for (const char* text : {"", "mac=52:54:00:12:34:56", "tap=", "tap=a/b", "tap=sixteen-letters!",
                           "tap=vm0,mac=1:2", "tap=vm0,mac=ff:ff:ff:ff:ff:ff",
                           "tap=vm0,netns=", "tap=vm0,netns=../x", "tap=vm0,mtu=9", "vm0"}) {
    EXPECT_FALSE(parse_net(text)) << text;
    EXPECT_FALSE(parse_clones_net(text)) << text;
  }
  EXPECT_FALSE(parse_net("tap=vm%d")) << "there is no clone";
  EXPECT_FALSE(parse_net("tap=vm0,mac=keep")) << "there is nothing to keep";
  EXPECT_FALSE(parse_clones_net("tap=vm%s"));
}

TEST(ParseHoldLimit, IsForEverOrForSeconds) {
  EXPECT_EQ(parse_hold_limit("forever").value(), std::nullopt);
  EXPECT_EQ(parse_hold_limit("2.5").value(), std::chrono::milliseconds(2500));
  for (const char* text : {"", "0", "-1", "1e9", "5s", "nan", "inf", "false", "never"})
    EXPECT_FALSE(parse_hold_limit(text)) << text;
}

TEST(ParseNumbers, AreWholeAndAtLeastOne) {
  EXPECT_EQ(parse_numbers("80,5000,80").value(), (std::set<std::uint32_t>{80, 5000}));
  for (const char* text : {"", ",", "-1", "x", "1,y", "4294967296", "1.5"})
    EXPECT_FALSE(parse_numbers(text)) << text;
}

TEST(CheckHold, RefusesWhatIsNotThereAndWhatNothingEnds) {
  const auto refusal = [](const Hold& hold, const HoldableMachine& machine) {
    const auto checked = check_hold(hold, machine);
    return checked ? "" : checked.error().message();
  };
  const HoldableMachine all{.has_network = true, .has_vsock = true, .disks = 2};
  EXPECT_EQ(refusal({}, {}), "");
  EXPECT_EQ(refusal({.network = true, .vsock_ports = {80}, .disks = {0, 1}}, all), "");
  EXPECT_EQ(refusal({.network = true}, {.has_vsock = true}),
            "--hold-network: the machine has no network device");
  EXPECT_EQ(refusal({.vsock_ports = {80}}, {.has_network = true}),
            "--hold-vsock: the machine has no vsock device");
  EXPECT_EQ(refusal({.vsock_ports = {CLONESAFE_HOST_VSOCK_PORT}}, all),
            "--hold-vsock: port " + std::to_string(CLONESAFE_HOST_VSOCK_PORT) +
                " is the agent's, whose report ends the hold");
  EXPECT_EQ(refusal({.disks = {2}}, all),
            "--hold-disk: there is no disk 2, the machine has 2 (from 0)");
  EXPECT_NE(refusal({.network = true}, {.has_network = true}), "");
  EXPECT_EQ(refusal({.network = true, .limit = std::chrono::seconds(1)}, {.has_network = true}),
            "");
  EXPECT_EQ(refusal({.limit = std::chrono::seconds(1)}, all), "--hold-limit: nothing is held");
}

TEST(ClonesNets, GiveNoTwoClonesTheSame) {
  const auto check = [](const char* text, std::uint32_t clones) {
    const auto checked = check_clones_nets({{*parse_clones_net(text)}}, clones);
    return checked ? "" : checked.error().message();
  };
  EXPECT_EQ(check("tap=vm0,mac=52:54:00:12:34:56", 1), "");
  EXPECT_EQ(check("tap=vm%d", 2), "");
  EXPECT_EQ(check("tap=vm0,netns=cs%d", 2), "");
  EXPECT_THAT(check("tap=vm0", 2), HasSubstr("one tap for 2 clones"));
  EXPECT_THAT(check("tap=vm%d,mac=52:54:00:12:34:56", 2), HasSubstr("one address for 2 clones"));
}

TEST(ClonesNets, AreAsManyAsTheSnapshotHas) {
  const std::vector<NetConfig> nets = {{.tap = "vm0", .mac = {}}};
  const std::vector<NetArgument> two(2, *parse_clones_net("tap=vm%d"));
  EXPECT_THAT(open_clone_nets(nets, two, 1, false).error().message(),
              HasSubstr("given 2 times, the snapshot's machine has 1"));
  EXPECT_TRUE(open_clone_nets({}, {}, 1, false));
}

TEST(SplitList, DropsEmptyParts) {
  EXPECT_THAT(split_list("rdrand,,rdseed,"), ElementsAre("rdrand", "rdseed"));
  EXPECT_THAT(split_list(""), ElementsAre());
}

TEST(ReadFile, NamesWhatIsMissing) {
  const auto file = read_file("/no/such/kernel", 1024);
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message(), HasSubstr("/no/such/kernel"));
  EXPECT_FALSE(read_file("/", 1024)) << "a directory";
}

TEST(Balloon, ReportsOnlyIfAsked) {
  EXPECT_FALSE(parse_balloon("true")->reporting) << "the flag without a value";
  EXPECT_TRUE(parse_balloon("reporting")->reporting);
  for (const char* text : {"", "no", "reporting,", "1"}) EXPECT_FALSE(parse_balloon(text)) << text;
}

}  // namespace
}  // namespace clonesafe::cli
