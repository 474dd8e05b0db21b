#include "vmm_device/machine/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <sstream>
#include <vector>

namespace clonesafe {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Metrics, EachSampleIsOfAFamilyThatIsDeclaredOnce) {
  Metrics metrics{.version = "1.2", .kind = "clone", .pause_us = 5, .disks = {{}}, .safe_us = 6};
  std::set<std::string> declared;
  std::istringstream lines(to_prometheus(metrics));
  const std::regex sample(
      R"re(([a-z_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9]+(\.[0-9]+)?)re");
  for (std::string line; std::getline(lines, line);) {
    std::smatch parts;
    if (line.starts_with("# TYPE ")) {
      const std::string name = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(declared.insert(name).second) << line;
      const bool counter = line.ends_with(" counter");
      EXPECT_EQ(counter, name.ends_with("_total")) << line;
    } else if (!line.starts_with("# HELP ")) {
      ASSERT_TRUE(std::regex_match(line, parts, sample)) << line;
      EXPECT_TRUE(declared.contains(parts[1])) << line;
    }
  }
  EXPECT_GT(declared.size(), 10u);
}

TEST(Metrics, HasTheFiguresOfTheMachine) {
  const std::string text = to_prometheus({.running = true,
                                          .memory_bytes = 1 << 20,
                                          .exits = {.port = 7, .mmio = 8},
                                          .snapshots = 3,
                                          .forks = 5,
                                          .pause_us = 1'234'567,
                                          .agent_state = "degraded"});
  EXPECT_THAT(text, HasSubstr("clonevm_running 1\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_memory_bytes 1048576\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_exits_total{reason=\"port\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_exits_total{reason=\"mmio\"} 8\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_snapshots_total{result=\"written\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_forks_total 5\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_snapshot_pause_seconds 1.234567\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_agent_state{state=\"degraded\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_agent_state{state=\"safe\"} 0\n"));
}

TEST(Metrics, HasTheFiguresOfVsock) {
  const std::string text =
      to_prometheus({.vsock = VsockFigures{.streams = 3, .refused = 4, .held = 5}});
  EXPECT_THAT(text, HasSubstr("clonevm_vsock_streams 3\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_vsock_refused_total 4\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_vsock_held_total 5\n"));
}

TEST(Metrics, HasEachDisksFigures) {
  const std::string text =
      to_prometheus({.disks = {{.reads = 3}, {.written_bytes = 4096, .errors = 2}}});
  EXPECT_THAT(text, HasSubstr("clonevm_disk_reads_total{disk=\"0\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_disk_reads_total{disk=\"1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_disk_written_bytes_total{disk=\"1\"} 4096\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_disk_errors_total{disk=\"1\"} 2\n"));
}

TEST(Metrics, HasTheFiguresOfEachNetworkDevice) {
  const std::string text =
      to_prometheus({.nets = {{.sent_frames = 3},
                              {.received_bytes = 4, .parked = 5, .held_lost = 6, .held_stale = 7}},
                     .network_held = true});
  EXPECT_THAT(text, HasSubstr("clonevm_network_held 1\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_net_sent_frames_total{net=\"0\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_net_received_bytes_total{net=\"1\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_net_held_frames_total{net=\"1\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_net_held_dropped_frames_total{net=\"1\"} 6\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_net_held_stale_frames_total{net=\"1\"} 7\n"));
}

TEST(Metrics, LeavesOutWhatHasNotHappened) {
  const std::string text = to_prometheus({});
  EXPECT_THAT(text, Not(HasSubstr("pause_seconds")));
  EXPECT_THAT(text, Not(HasSubstr("network_held")));
  EXPECT_THAT(text, Not(HasSubstr("safe_seconds")));
  EXPECT_THAT(text, Not(HasSubstr("disk")));
  EXPECT_THAT(text, Not(HasSubstr("vsock")));
}

TEST(Metrics, LabelsCanHoldAnything) {
  EXPECT_THAT(to_prometheus({.version = "a\"b\\c\nd"}), HasSubstr(R"(version="a\"b\\c d")"));
}

TEST(Metrics, CountsThePageFaultsOfThisProcess) {
  Metrics before, after;
  add_resource_use(before);
  constexpr std::size_t kPages = 64, kPage = 4096;
  std::vector<char> memory(kPages * kPage * 16);
  for (std::size_t i = 0; i < memory.size(); i += kPage) memory[i] = 1;
  add_resource_use(after);
  EXPECT_GT(after.minor_faults, before.minor_faults);
}

TEST(Metrics, HasTheBalloonsFigures) {
  EXPECT_THAT(to_prometheus({}), Not(HasSubstr("balloon")));
  std::string text = to_prometheus({.balloon = BalloonFigures{.pages = 3, .reported = 2}});
  EXPECT_THAT(text, HasSubstr("clonevm_balloon_bytes 12288\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_balloon_taken_bytes_total{by=\"report\"} 8192\n"));
  EXPECT_THAT(text, Not(HasSubstr("guest_memory_bytes"))) << "the guest told nothing";
  text = to_prometheus({.balloon = BalloonFigures{.free = 5, .total = 9}});
  EXPECT_THAT(text, HasSubstr("clonevm_guest_memory_bytes{kind=\"free\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("clonevm_guest_memory_bytes{kind=\"total\"} 9\n"));
  EXPECT_THAT(text, Not(HasSubstr("available")));
}

}  // namespace
}  // namespace clonesafe
