#ifndef CLONESAFE_TESTS_LAB_NESTED_STATE_FIXTURE_H_
#define CLONESAFE_TESTS_LAB_NESTED_STATE_FIXTURE_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <sstream>
#include <string>

#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {

inline constexpr int kProcessors = 4;

using Counts = std::map<std::string, std::uint64_t>;

class StateTest : public CloneTest {
 protected:
  // What a program in the guest counted; nothing in it may have gone wrong.
  static Counts counts_of(const Guest& guest, const char* program = "guest_state") {
    Counts counts;
    const std::string report = guest.get(program + std::string(" report"));
    std::istringstream lines(report);
    std::string name;
    std::uint64_t count = 0;
    while (lines >> name >> count) counts[name] = count;
    EXPECT_EQ(counts["errors"], 0u) << report;
    return counts;
  }

  // Waits until everything that moves has moved on from `before`; the test fails if something
  // stands still.
  static Counts await_progress(const Guest& guest, const Counts& before,
                               const char* program = "guest_state") {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (;;) {
      const Counts now = counts_of(guest, program);
      std::string still;
      for (const auto& [name, count] : before) {
        const auto found = now.find(name);
        if (name != "errors" && (found == now.end() || found->second <= count)) still += " " + name;
      }
      // A guest that doesn't answer, or found an error, has been told of already.
      if (still.empty() || now.size() <= 1 || now.at("errors") != 0) return now;
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "stands still:" << still;
        return now;
      }
    }
  }

  static void take(const Guest& guest, const std::filesystem::path& to, const std::string& then) {
    const auto taken = guest.snapshot(to, {then});
    ASSERT_TRUE(taken) << taken.error().message();
    ASSERT_EQ(taken->status, 0) << taken->output;
  }

  // All that guest_state counts on that many processors.
  static Counts nothing_yet() {
    Counts counts = {{"barriers", 0}, {"traps", 0}, {"serial", 0}};
    for (int i = 0; i < kProcessors; ++i) {
      for (const char* name : {"registers.", "timers.", "wakes."})
        counts[name + std::to_string(i)] = 0;
    }
    return counts;
  }
};

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_STATE_FIXTURE_H_
