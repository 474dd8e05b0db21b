#ifndef CLONESAFE_HOOKS_THREAD_H_
#define CLONESAFE_HOOKS_THREAD_H_

#include <pthread.h>

namespace clonesafe::hooks {

// Starts a thread that takes none of the program's signals. False: there is no memory for it.
bool start_thread(void* (*body)(void*), void* argument, const char* name, pthread_t& thread);

}  // namespace clonesafe::hooks

#endif  // CLONESAFE_HOOKS_THREAD_H_
