#ifndef CLONESAFE_TESTS_UNIT_HOOKS_HOOK_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_HOOKS_HOOK_FIXTURE_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "clonesafe/hooks.hpp"
#include "libclonesafe/hooks/registry.h"
#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {

// What hooks did, in order; read by other threads.
class Log {
 public:
  void add(const std::string& word) {
    const std::lock_guard guard(lock_);
    words_.push_back(word);
    added_.notify_all();
  }
  std::vector<std::string> take() {
    const std::lock_guard guard(lock_);
    return std::exchange(words_, {});
  }
  // Waits until there are as many.
  std::vector<std::string> take(std::size_t count) {
    std::unique_lock guard(lock_);
    added_.wait(guard, [&] { return words_.size() >= count; });
    return std::exchange(words_, {});
  }

 private:
  std::mutex lock_;
  std::condition_variable added_;
  std::vector<std::string> words_;
};

class HookFixture : public Laboratory {
 protected:
  HookFixture() {
    publish({});
    restart();
    hooks::registry().restart_for_testing();
  }
  ~HookFixture() override {
    // They may still be on their way out, and the library is about to be taken apart.
    while (hooks::Registry::workers_for_testing != 0) std::this_thread::yield();
  }
  // As a restore of this very process.
  void change() {
    ++generation_;
    publish({.generation = generation_, .reseed_epoch = generation_});
  }
  void resume() { publish({.generation = generation_, .reseed_epoch = ++reseed_epoch_}); }
  Hook after(const std::string& name, Priority priority = Priority::kUser) {
    return Hook::after_restore({.name = name, .priority = priority},
                               [this, name](const cs_event&) { log_.add(name); });
  }
  Hook before(const std::string& name, Priority priority = Priority::kUser) {
    return Hook::before_snapshot({.name = name, .priority = priority},
                                 [this, name](const cs_event&) { log_.add(name); });
  }
  // "name result: detail" of each hook of the last event.
  static std::vector<std::string> reports() {
    std::vector<std::string> lines;
    for (const cs_hook_report& report : hooks_report())
      lines.push_back(std::string(report.name) + " " + std::to_string(report.result) +
                      (report.detail[0] == '\0' ? "" : ": ") + report.detail);
    return lines;
  }

  std::uint64_t generation_ = 1;
  std::uint64_t reseed_epoch_ = 5000;
  Log log_;
};

}  // namespace clonesafe::laboratory

#endif  // CLONESAFE_TESTS_UNIT_HOOKS_HOOK_FIXTURE_H_
