// The C++ view of hooks.h: hooks as objects, with exceptions for errors. Header only, C++17.
//
// Thread-, fork- and clone-safety are those of hooks.h. A Hook is a plain value.
#ifndef CLONESAFE_HOOKS_HPP_
#define CLONESAFE_HOOKS_HPP_

#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "clonesafe/clonesafe.hpp"
#include "clonesafe/hooks.h"

namespace clonesafe {

enum class Priority : std::uint32_t {
  kRng = CS_PRIORITY_RNG,
  kIds = CS_PRIORITY_IDS,
  kCrypto = CS_PRIORITY_CRYPTO,
  kConnections = CS_PRIORITY_CONNECTIONS,
  kUser = CS_PRIORITY_USER,
};

enum class HookResult : int {
  kOk = CS_HOOK_OK,
  kRetry = CS_HOOK_RETRY,
  kFailClosed = CS_HOOK_FAIL_CLOSED,
  kLate = CS_HOOK_LATE,
};

struct HookOptions {
  std::string name = "hook";
  Priority priority = Priority::kUser;
  std::chrono::milliseconds deadline{0};  // 0: that of hooks.h
};

// A hook that is registered for as long as the object lives. Destroying it waits until the function
// has returned, unless the function itself destroys it.
//
//   auto hook = clonesafe::Hook::after_restore({.name = "pool"}, [&](const cs_event&) { ... });
//
// The function returns nothing, or a HookResult. What it throws is caught, and is
// HookResult::kFailClosed with what() in the report.
class Hook {
 public:
  using Function = std::function<HookResult(const cs_event&)>;

  Hook() = default;
  // Throw LibraryError.
  template <typename F>
  static Hook before_snapshot(const HookOptions& options, F function) {
    return Hook(options, wrap(std::move(function)), &cs_before_snapshot_hook);
  }
  template <typename F>
  static Hook after_restore(const HookOptions& options, F function) {
    return Hook(options, wrap(std::move(function)), &cs_after_restore_hook);
  }
  Hook(Hook&& other) noexcept : hook_(std::exchange(other.hook_, nullptr)) {}
  Hook& operator=(Hook&& other) noexcept {
    if (this != &other) {
      cs_hook_remove(std::exchange(hook_, nullptr));
      hook_ = std::exchange(other.hook_, nullptr);
    }
    return *this;
  }
  Hook(const Hook&) = delete;
  Hook& operator=(const Hook&) = delete;
  ~Hook() { cs_hook_remove(hook_); }

 private:
  template <typename F>
  static Function wrap(F function) {
    if constexpr (std::is_void_v<std::invoke_result_t<F&, const cs_event&>>) {
      return [function = std::move(function)](const cs_event& event) mutable {
        function(event);
        return HookResult::kOk;
      };
    } else {
      return Function(std::move(function));
    }
  }
  Hook(const HookOptions& options, Function function,
       int (*add)(const cs_hook_options*, cs_hook**)) {
    auto owned = std::make_unique<Function>(std::move(function));
    cs_hook_options given = {};
    given.function = &run;
    given.argument = owned.get();
    given.name = options.name.c_str();
    given.priority = static_cast<std::uint32_t>(options.priority);
    given.deadline_ms = static_cast<std::uint32_t>(options.deadline.count());
    given.release = [](void* argument) { delete static_cast<Function*>(argument); };
    if (const int result = add(&given, &hook_); result != 0) throw LibraryError(result);
    (void)owned.release();
  }
  static void say(const cs_event* event, const char* what) noexcept {
    std::strncpy(event->detail, what, CS_HOOK_DETAIL - 1);
  }
  static int run(const cs_event* event, void* argument) {
    try {
      return static_cast<int>((*static_cast<Function*>(argument))(*event));
    } catch (const std::exception& error) {
      say(event, error.what());
    } catch (...) {
      say(event, "threw something that is no std::exception");
    }
    return CS_HOOK_FAIL_CLOSED;
  }

  cs_hook* hook_ = nullptr;
};

// As cs_poll. Throws LibraryError.
inline int poll() {
  const int handled = cs_poll();
  if (handled < 0) throw LibraryError(handled);
  return handled;
}

// As cs_hooks_report. Throws LibraryError.
inline std::vector<cs_hook_report> hooks_report() {
  std::vector<cs_hook_report> reports;
  for (;;) {
    const int count = cs_hooks_report(reports.data(), sizeof(cs_hook_report), reports.size());
    if (count < 0) throw LibraryError(count);
    const bool whole = static_cast<std::size_t>(count) <= reports.size();
    reports.resize(static_cast<std::size_t>(count));
    if (whole) return reports;
  }
}

// The watcher thread, for as long as an object of this class lives. Throws LibraryError.
class Watch {
 public:
  explicit Watch(const cs_watch_options& options = {}) {
    if (const int result = cs_watch_start(&options); result != 0) throw LibraryError(result);
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch() { (void)cs_watch_stop(); }
};

}  // namespace clonesafe

#endif  // CLONESAFE_HOOKS_HPP_
