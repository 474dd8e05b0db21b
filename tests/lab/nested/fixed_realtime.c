/* Preloaded under clonevm: CLOCK_REALTIME stands at CLONESAFE_FIXED_REALTIME_NS, so that two
 * restores happen at the same nanosecond as far as they can know. Never installed. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec* now) {
  static int (*real)(clockid_t, struct timespec*);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "clock_gettime");
  const char* fixed = getenv("CLONESAFE_FIXED_REALTIME_NS");
  if (clock != CLOCK_REALTIME || fixed == NULL) return real(clock, now);
  const unsigned long long nanoseconds = strtoull(fixed, NULL, 10);
  now->tv_sec = (time_t)(nanoseconds / 1000000000);
  now->tv_nsec = (long)(nanoseconds % 1000000000);
  return 0;
}
