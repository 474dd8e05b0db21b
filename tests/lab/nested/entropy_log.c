/* Preloaded under clonevm: appends whatever getrandom(2) gave, after its length (32 bits), to the
 * file in CLONESAFE_ENTROPY_LOG, so that a test knows every seed that was ever given and can search
 * snapshots for it. Never installed. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static int log_file = -1;

/* At the start: later the process may be in a jail, where the path means nothing. */
__attribute__((constructor)) static void open_log(void) {
  const char* path = getenv("CLONESAFE_ENTROPY_LOG");
  if (path == NULL) return;
  log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log_file < 0) abort();
}

ssize_t getrandom(void* buffer, size_t size, unsigned flags) {
  static ssize_t (*real)(void*, size_t, unsigned);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "getrandom");
  const ssize_t given = real(buffer, size, flags);
  if (given > 0 && log_file >= 0) {
    const unsigned length = (unsigned)given;
    if (write(log_file, &length, sizeof length) != sizeof length ||
        write(log_file, buffer, (size_t)given) != given) {
      abort();
    }
  }
  return given;
}
