// A program with hooks and the watcher thread, for tests with clonesafed as it is. It prints what
// it is told, and fails in generation 0x32.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <thread>

#include "clonesafe/hooks.hpp"

int main() try {
  (void)std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto before =
      clonesafe::Hook::before_snapshot({"park"}, [](const cs_event&) { std::puts("before"); });
  const auto after = clonesafe::Hook::after_restore({"renew"}, [](const cs_event& event) {
    std::printf("after kind %u from %llx to %llx\n", event.kind,
                static_cast<unsigned long long>(event.old_generation),
                static_cast<unsigned long long>(event.new_generation));
    if (event.new_generation == 0x32) throw std::runtime_error("no lease");
  });
  const clonesafe::Watch watch;
  for (int told = CS_WATCH_OFF;;) {
    if (const int state = cs_watch_state(); state != told) std::printf("state %d\n", told = state);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
} catch (const std::exception& error) {
  (void)std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
