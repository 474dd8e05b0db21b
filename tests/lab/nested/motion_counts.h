#ifndef CLONESAFE_TESTS_LAB_NESTED_MOTION_COUNTS_H_
#define CLONESAFE_TESTS_LAB_NESTED_MOTION_COUNTS_H_

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <string>

#include "tests/lab/nested/lab_vm.h"
#include "tests/lab/nested/state_fixture.h"

// What guests in motion (guest_motion, iperf3) and their machines count.
namespace clonesafe::lab {

// Seconds of the present connection in which something went through, each way, and how many ended.
struct Iperf {
  int sent = 0, received = 0, ended = 0;
  static Iperf of(const Guest& guest) {
    Iperf iperf;
    std::istringstream(
        guest.get("awk '/TX-C/ && $5>0 {t++} /RX-C/ && $5>0 {r++} /^ended/ {e++; t=0; r=0} "
                  "END {print t+0, r+0, e+0}' /run/iperf.log")) >>
        iperf.sent >> iperf.received >> iperf.ended;
    return iperf;
  }
};

// What a disk did: as its device counts it, or the guest's kernel.
struct DiskCounts {
  std::uint64_t reads = 0;
  std::uint64_t changes = 0;  // writes, discards, writes of zeroes
  std::uint64_t flushes = 0;
  friend bool operator==(const DiskCounts&, const DiskCounts&) = default;
  friend std::ostream& operator<<(std::ostream& out, const DiskCounts& counts) {
    return out << counts.reads << " reads, " << counts.changes << " changes, " << counts.flushes
               << " flushes";
  }
  friend DiskCounts operator+(const DiskCounts& a, const DiskCounts& b) {
    return {a.reads + b.reads, a.changes + b.changes, a.flushes + b.flushes};
  }
};

// As guest_motion reports the kernel's count. An fdatasync stands among its changes, though the
// device has only its flush.
inline DiskCounts counted_by_guest(const Counts& counts, int disk) {
  const std::string name = std::string("vd") + static_cast<char>('a' + disk);
  return {.reads = counts.at(name + ".reads"),
          .changes = counts.at(name + ".changes"),
          .flushes = counts.at(name + ".flushes")};
}

// Says how long each part took.
class Laps {
 public:
  void lap(const char* what) {
    const auto now = std::chrono::steady_clock::now();
    text_ << ", " << what << " " << std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  std::string text() const { return text_.str(); }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::ostringstream text_ = std::ostringstream(std::ios::ate)
                             << std::fixed << std::setprecision(1);
};

class Metrics {
 public:
  explicit Metrics(const std::filesystem::path& api) {
    const auto outcome = lab::run({Lab::get().clonevm, "metrics", "--api", api}, Seconds(60));
    EXPECT_TRUE(outcome && outcome->status == 0);
    if (outcome) text_ = outcome->output;
  }
  std::uint64_t of(const std::string& name) const {
    const std::string before = "\nclonevm_" + name + " ";
    const auto at = text_.find(before);
    EXPECT_NE(at, std::string::npos) << name;
    return at == std::string::npos ? 0 : std::strtoull(&text_[at + before.size()], nullptr, 10);
  }
  // All of its network, to be shown.
  std::string net() const {
    std::string all;
    std::istringstream lines(text_);
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("clonevm_net_")) all += line + "\n";
    return all;
  }
  DiskCounts disk(int disk) const {
    const std::string label = "{disk=\"" + std::to_string(disk) + "\"}";
    EXPECT_EQ(of("disk_errors_total" + label), 0u);
    return {.reads = of("disk_reads_total" + label),
            .changes = of("disk_writes_total" + label) + of("disk_discards_total" + label),
            .flushes = of("disk_flushes_total" + label)};
  }

 private:
  std::string text_;
};

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_MOTION_COUNTS_H_
