/* Preloaded under clonevm: appends whatever getrandom(2) gave, after its length (32 bits), to the
 * file in CLONESAFE_ENTROPY_LOG, so that a test knows every seed that was ever given and can search
 * snapshots for it. Never installed. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

ssize_t getrandom(void* buffer, size_t size, unsigned flags) {
  static ssize_t (*real)(void*, size_t, unsigned);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "getrandom");
  const ssize_t given = real(buffer, size, flags);
  const char* path = getenv("CLONESAFE_ENTROPY_LOG");
  if (given > 0 && path != NULL) {
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const unsigned length = (unsigned)given;
    if (fd < 0 || write(fd, &length, sizeof length) != sizeof length ||
        write(fd, buffer, (size_t)given) != given) {
      abort();
    }
    close(fd);
  }
  return given;
}
