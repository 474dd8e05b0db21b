// Draws before main, in main, in a thread's last destructor, and in a destructor that runs after
// libcrypto took itself apart at exit. Prints what each draw returned.
#include <pthread.h>

#include <cstdio>
#include <cstring>
#include <thread>

#include "clonesafe/clonesafe.h"

namespace {

void draw(const char* when) {
  unsigned char bytes[64] = {};
  const unsigned char zeros[64] = {};
  const int result = cs_random(bytes, sizeof(bytes));
  std::printf("%s %d %s\n", when, result,
              std::memcmp(bytes, zeros, sizeof(bytes)) == 0 ? "zeros" : "bytes");
  std::fflush(stdout);
}

struct Early {
  Early() { draw("before-main"); }
};
struct Late {
  ~Late() { draw("after-exit"); }
};
struct AtThreadEnd {
  ~AtThreadEnd() { draw("thread-end"); }
};

// Constructed first, so destroyed last.
const Late late;
const Early early;
pthread_key_t key;

}  // namespace

int main() {
  draw("main");
  // Made after the library's own key, so that its destructor comes after the library's.
  if (pthread_key_create(&key, [](void*) { draw("key-destructor"); }) != 0) return 1;
  std::thread([] {
    thread_local AtThreadEnd at_thread_end;
    (void)&at_thread_end;
    (void)pthread_setspecific(key, &key);
    draw("thread");
  }).join();
  return 0;
}
