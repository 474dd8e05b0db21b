// A real Debian, with systemd, a disk and a network of its own: installed as an operator does it,
// cloned, and each clone powered off in good order.
#include <fstream>
#include <set>

#include "tests/lab/nested/clone_fixture.h"
#include "tests/lab/nested/host_network.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

constexpr int kClones = 4;

class DebianTest : public CloneTest {
 protected:
  // Until the serial console asks who is there.
  std::unique_ptr<BootedVm> boot_to_login(const HostNetwork& network) {
    return BootedVm::boot_until(scratch_ / "source",
                                {.arguments = {"--disk", disk_.string() + ",layer=temporary",
                                               "--net", tap_in(network.name())},
                                 .cmdline = "systemd.show_status=false",
                                 .memory = "384M"},
                                " login: ");
  }
  static std::string tier(const Guest& guest, const std::string& properties) {
    return guest.get("systemd-run --quiet --wait --pipe " + properties +
                     " status_example | sed -n 's/^tier *//p'");
  }

  static std::string tap_in(const std::string& network_namespace) {
    return std::string("tap=") + HostNetwork::kTap + ",netns=" + network_namespace;
  }
  // What the host's server says of a file that it has.
  static std::string ask_host(const Guest& guest) {
    return guest.get(
        std::string("timeout 30 bash -c 'exec 3<>/dev/tcp/") + HostNetwork::kHost +
        "/80 && printf \"GET /word HTTP/1.0\\r\\n\\r\\n\" >&3 && cat <&3' | tail -n 1");
  }

  const fs::path disk_ = fs::absolute("root.ext4");
};

TEST_F(DebianTest, ClonesOfARunningSystemAreTheirOwnAndEndInGoodOrder) {
  fs::create_directories(scratch_ / "files");
  std::ofstream(scratch_ / "files" / "word") << "clonable\n";
  std::vector<HostNetwork> networks;
  for (int i = 0; i <= kClones; ++i) {
    auto network = HostNetwork::make("debian-" + std::to_string(i), scratch_ / "files");
    ASSERT_TRUE(network);
    networks.push_back(std::move(*network));
  }
  auto vm = boot_to_login(networks[0]);
  ASSERT_TRUE(vm);
  const Guest source = vm->guest();
  ASSERT_TRUE(eventually(Seconds(200), [&] { return agent_status(source, "state") == "safe"; }))
      << vm->console();
  EXPECT_EQ(source.get("systemctl --failed --no-legend --plain"), "");
  EXPECT_EQ(ask_host(source), "clonable");
  const std::string whose = identity(source);

  ASSERT_EQ(source.snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", kClones,
                                    {"--timeout", "280", "--wait", "safe", "--keep-layers", "--net",
                                     tap_in("debian-%d"), "--hold-network"});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);
  std::set<std::string> identities = {whose};
  for (int i = 1; i <= kClones; ++i) {
    const Guest clone = restored->guest(i);
    identities.insert(identity(clone));
    EXPECT_EQ(clone.get("systemctl --failed --no-legend --plain"), "") << "clone " << i;
    EXPECT_EQ(ask_host(clone), "clonable") << "clone " << i;
    clone.get("echo " + std::to_string(i) + " >/root/whose");
  }
  EXPECT_EQ(identities.size(), 1u + kClones);

  // What a service of systemd's sees with a /run of its own, and what the drop-in gives it.
  const Guest clone = restored->guest(1);
  const std::string hidden = "-p PrivateDevices=yes -p TemporaryFileSystem=/run";
  EXPECT_EQ(tier(clone, "-p PrivateDevices=yes"), "word");
  EXPECT_EQ(tier(clone, hidden), "none");
  EXPECT_EQ(tier(clone, hidden + " -p BindReadOnlyPaths=/run/clonesafe/generation"), "word");

  for (int i = 1; i <= kClones; ++i) restored->guest(i).get("systemctl --no-block poweroff");
  const auto ended = restored->process().wait(Seconds(300));
  ASSERT_TRUE(ended) << ended.error().message();
  EXPECT_EQ(*ended, 0);
  for (int i = 1; i <= kClones; ++i) {
    const fs::path layer = scratch_ / "clones" / std::to_string(i) / "disk0.layer";
    const fs::path merged = scratch_ / ("merged" + std::to_string(i));
    const auto committed = lab::run({Lab::get().clonevm, "commit", layer.string(), "--image",
                                     disk_.string(), "--out", merged.string()},
                                    Seconds(60));
    ASSERT_TRUE(committed);
    EXPECT_EQ(committed->status, 0) << committed->output;
    const auto checked = lab::run({"./e2fsck", "-f", "-n", merged.string()}, Seconds(60));
    ASSERT_TRUE(checked);
    EXPECT_EQ(checked->status, 0) << "clone " << i << ": " << checked->output;
    fs::remove(merged);
  }
}

}  // namespace
}  // namespace clonesafe::lab
