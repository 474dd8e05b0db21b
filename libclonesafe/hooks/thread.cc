#include "libclonesafe/hooks/thread.h"

#include <csignal>

namespace clonesafe::hooks {

bool start_thread(void* (*body)(void*), void* argument, const char* name, pthread_t& thread) {
  sigset_t all;
  sigset_t before;
  (void)::sigfillset(&all);
  if (::pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return false;
  const bool started = ::pthread_create(&thread, nullptr, body, argument) == 0;
  (void)::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (started) (void)::pthread_setname_np(thread, name);
  return started;
}

}  // namespace clonesafe::hooks
