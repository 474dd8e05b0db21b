#include "vmm_device/cli/snapshot_line.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace clonesafe::cli {
namespace {

TEST(SnapshotLine, SaysSizeTimeAndPause) {
  boost::json::object reply{{"out", "/golden"},
                            {"written", 3u << 20},
                            {"memory", 256u << 20},
                            {"us", 71'249},
                            {"pause_us", 74'000u}};
  EXPECT_EQ(snapshot_line(reply),
            "/golden: 3.0 MiB written of 256.0 MiB of memory, in 71.2 ms; "
            "the machine stood still for 74.0 ms");
  reply.erase("pause_us");
  EXPECT_EQ(snapshot_line(reply), "/golden: 3.0 MiB written of 256.0 MiB of memory, in 71.2 ms");
}

TEST(SnapshotLine, SaysWhatTheBalloonReclaimedAndWhyNotMore) {
  boost::json::object reply{{"out", "/golden"},
                            {"written", 3u << 20},
                            {"memory", 256u << 20},
                            {"us", 71'249},
                            {"reclaimed", 180u << 20}};
  const std::string line = "/golden: 3.0 MiB written of 256.0 MiB of memory, in 71.2 ms; ";
  EXPECT_EQ(snapshot_line(reply), line + "180.0 MiB of free memory reclaimed before it");
  reply["reclaimed"] = 0;
  reply["reclaim_lacks"] = "the guest has no driver for the balloon";
  EXPECT_EQ(snapshot_line(reply),
            line +
                "0.0 MiB of free memory reclaimed before it (the guest has no driver for the "
                "balloon)");
}

}  // namespace
}  // namespace clonesafe::cli
