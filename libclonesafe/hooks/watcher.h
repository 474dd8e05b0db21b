#ifndef CLONESAFE_HOOKS_WATCHER_H_
#define CLONESAFE_HOOKS_WATCHER_H_

#include "clonesafe/hooks.h"

namespace clonesafe::hooks {

// The thread that runs the hooks, one for each process. As the C functions.
int start_watcher(const cs_watch_options& options);
int stop_watcher();
int watcher_state();

}  // namespace clonesafe::hooks

#endif  // CLONESAFE_HOOKS_WATCHER_H_
