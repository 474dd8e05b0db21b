#ifndef CLONESAFE_TESTS_LAB_NESTED_CLONE_FIXTURE_H_
#define CLONESAFE_TESTS_LAB_NESTED_CLONE_FIXTURE_H_

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <cstring>
#include <string>
#include <vector>

#include "tests/lab/nested/lab_vm.h"

namespace clonesafe::lab {

inline const std::string kNoAgent = "clonesafe.agent=off clonesafe.probes=off";
inline const std::string kNoProbes = "clonesafe.probes=off";
// RDRAND alone can make generators differ; a test that it would save proves nothing.
inline const std::vector<std::string> kMasked = {"--cpu-mask", "rdrand,rdseed"};

inline std::string identity(const Guest& guest) {
  return guest.get("cat /etc/machine-id /proc/sys/kernel/random/boot_id; hostname");
}

inline std::string kernel_random(const Guest& guest) {
  return guest.get("head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'");
}

inline std::string agent_status(const Guest& guest, const std::string& member) {
  return guest.get("clonesafectl status --json | sed -n 's/.*\"" + member +
                   "\":\"\\([^\"]*\\)\".*/\\1/p'");
}

// Every repair of every clone is "ok".
inline void expect_repaired(const Restored& restored) {
  for (const auto& report : restored.reports()) {
    ASSERT_TRUE(report.at("safe_us").is_number()) << boost::json::serialize(report);
    EXPECT_FALSE(report.at("repairs").as_array().empty());
    for (const auto& repair : report.at("repairs").as_array()) {
      EXPECT_NE(repair.at("result").as_string(), "failed") << boost::json::serialize(report);
    }
  }
}

class CloneTest : public testing::Test {
 protected:
  std::unique_ptr<BootedVm> boot(const BootOptions& options) {
    return BootedVm::boot(scratch_ / "source", options);
  }
  Scratch scratch_;
};

// The draw of one restore or boot, as vmm_device/generation makes it in one getrandom(2) call.
inline constexpr std::size_t kDraw = 120;
inline constexpr std::size_t kVmGenerationIdAt = 24;
inline constexpr std::size_t kSeedAt = 56;

// The draws that the preload library logged, of those calls that filled a whole `Draw`.
inline std::vector<std::string> draws_in(const std::string& log) {
  std::vector<std::string> draws;
  for (std::size_t at = 0; at + sizeof(std::uint32_t) <= log.size();) {
    std::uint32_t size = 0;
    std::memcpy(&size, log.data() + at, sizeof size);
    at += sizeof size;
    if (size == kDraw) draws.push_back(log.substr(at, size));
    at += size;
  }
  return draws;
}

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_CLONE_FIXTURE_H_
