// Makes every call before main, in main, at the ends of a thread, and at the end of the process:
// in an exit handler, and in a destructor that runs after libcrypto took itself apart. Prints for
// each moment what was wrong, or nothing.
#include <pthread.h>

#include <cstdio>
#include <thread>

#include "tests/unit/library/every_call.h"

namespace {

using namespace clonesafe::every_call;

unsigned char drawn_before[16];

void call_all(const char* when) {
  std::printf("%s:", when);
  for (const Call& call : kDraws) {
    Output output;
    call.make(output);
    const char* fault = fault_of(output);
    if (fault == nullptr && output.code != 0) fault = cs_strerror(output.code);
    if (fault != nullptr) std::printf(" %s (%s)", call.name, fault);
  }
  for (const Call& call : kOthers) {
    Output output;
    call.make(output);
    const char* fault = fault_of(output);
    if (fault == nullptr && output.code != 0) fault = cs_strerror(output.code);
    if (fault != nullptr) std::printf(" %s (%s)", call.name, fault);
  }
  unsigned char now[16];
  if (cs_random(now, sizeof(now)) != 0 || std::memcmp(now, drawn_before, sizeof(now)) == 0)
    std::printf(" repeats");
  std::memcpy(drawn_before, now, sizeof(now));
  std::printf("\n");
  std::fflush(stdout);
}

// Before every constructor of C++ and of libcrypto: 0 to 100 are the C library's own.
__attribute__((constructor(101))) void first() {
  call_all("before-constructors");
}

struct Early {
  Early() { call_all("before-main"); }
};
struct Late {
  ~Late() { call_all("after-exit"); }
};
struct AtThreadEnd {
  ~AtThreadEnd() { call_all("thread-end"); }
};

// Constructed first, so destroyed last.
const Late late;
const Early early;
pthread_key_t key;

__attribute__((destructor(101))) void last() {
  call_all("after-destructors");
}

}  // namespace

int main() {
  call_all("main");
  if (std::atexit([] { call_all("exit-handler"); }) != 0) return 1;
  // Made after the library's own key, so that its destructor comes after the library's.
  if (pthread_key_create(&key, [](void*) { call_all("key-destructor"); }) != 0) return 1;
  std::thread([] {
    thread_local AtThreadEnd at_thread_end;
    (void)&at_thread_end;
    (void)pthread_setspecific(key, &key);
    call_all("thread");
  }).join();
  return 0;
}
