/* Preloaded under clonevm: at the Nth call that leaves a trace outside the process (files, sockets,
 * processes, mappings) the process is killed, or the call fails because the disk is full. A test
 * that counts N up until nothing happens any more has been at every step. Never installed.
 *
 * - CLONESAFE_FAULT_AT=N: which call, from 1; a forked process goes on counting where its parent
 * was.
 * - CLONESAFE_FAULT=kill|full: what happens there; `full` lets calls pass that no disk can fail,
 * and does not count them.
 * - CLONESAFE_FAULT_ARM=FILE: calls count only while this file is not empty.
 * - CLONESAFE_FAULT_CAME=FILE: gets a byte when it happens.
 *
 * The files are opened at the start, and all is done with calls that the jail of a machine allows
 * to each of its threads: what is tested runs in it.
 *
 * Writes of one byte are a guest's serial line, and don't count. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long* calls;
static int arm_file = -1;
static int came_file = -1;

static int open_named(const char* variable) {
  const char* file = getenv(variable);
  if (file == NULL) return -1;
  const int fd = (int)syscall(SYS_open, file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) abort();
  return fd;
}

__attribute__((constructor)) static void start(void) {
  calls = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (calls == MAP_FAILED) abort();
  arm_file = open_named("CLONESAFE_FAULT_ARM");
  came_file = open_named("CLONESAFE_FAULT_CAME");
}

static int armed(void) {
  struct stat status;
  return arm_file < 0 || (fstat(arm_file, &status) == 0 && status.st_size != 0);
}

/* True: this call must fail. */
static int fault(int disk_can_fail) {
  const int saved = errno;
  const char* at = getenv("CLONESAFE_FAULT_AT");
  const char* how = getenv("CLONESAFE_FAULT");
  int fails = 0;
  /* Constructors of other libraries may come first. */
  if (calls != NULL && at != NULL && how != NULL && armed()) {
    const int full = strcmp(how, "full") == 0;
    if (!full || disk_can_fail) {
      if (atomic_fetch_add(calls, 1) + 1 == atol(at)) {
        if (came_file >= 0 && syscall(SYS_write, came_file, "!", 1) != 1) abort();
        if (!full) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGKILL);
        fails = 1;
      }
    }
  }
  errno = fails ? ENOSPC : saved;
  return fails;
}

enum { kNoDisk, kDisk };

#define CALL(type, name, parameters, arguments, disk)           \
  type name parameters {                                        \
    static type(*real) parameters;                              \
    if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, #name); \
    return fault(disk) ? (type) - 1 : real arguments;           \
  }
#define OPEN(name, parameters, arguments)                                                  \
  int name parameters {                                                                    \
    static int(*real) parameters;                                                          \
    if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, #name);                            \
    va_list list;                                                                          \
    va_start(list, flags);                                                                 \
    const mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0; \
    va_end(list);                                                                          \
    return fault((flags & O_CREAT) != 0) ? -1 : real arguments;                            \
  }

OPEN(open, (const char* path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char* path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char* path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char* path, int flags, ...), (at, path, flags, mode))
CALL(int, mkdir, (const char* path, mode_t mode), (path, mode), kDisk)
CALL(int, mkdirat, (int at, const char* path, mode_t mode), (at, path, mode), kDisk)
CALL(int, rename, (const char* from, const char* to), (from, to), kDisk)
CALL(int, renameat, (int a, const char* from, int b, const char* to), (a, from, b, to), kDisk)
CALL(int, renameat2, (int a, const char* from, int b, const char* to, unsigned flags),
     (a, from, b, to, flags), kDisk)
CALL(int, unlinkat, (int at, const char* path, int flags), (at, path, flags), kNoDisk)
CALL(int, unlink, (const char* path), (path), kNoDisk)
CALL(int, ftruncate, (int fd, off_t size), (fd, size), kDisk)
CALL(int, ftruncate64, (int fd, off64_t size), (fd, size), kDisk)
CALL(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), kDisk)
CALL(int, fallocate64, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size), kDisk)
CALL(ssize_t, pwrite, (int fd, const void* data, size_t size, off_t at), (fd, data, size, at),
     kDisk)
CALL(ssize_t, pwrite64, (int fd, const void* data, size_t size, off64_t at), (fd, data, size, at),
     kDisk)
CALL(ssize_t, writev, (int fd, const struct iovec* parts, int count), (fd, parts, count), kDisk)
CALL(int, fsync, (int fd), (fd), kDisk)
CALL(int, fdatasync, (int fd), (fd), kDisk)
CALL(int, memfd_create, (const char* name, unsigned flags), (name, flags), kNoDisk)
CALL(int, bind, (int fd, const struct sockaddr* address, socklen_t size), (fd, address, size),
     kDisk)
CALL(int, listen, (int fd, int backlog), (fd, backlog), kNoDisk)
CALL(int, connect, (int fd, const struct sockaddr* address, socklen_t size), (fd, address, size),
     kNoDisk)
CALL(ssize_t, send, (int fd, const void* data, size_t size, int flags), (fd, data, size, flags),
     kNoDisk)
CALL(ssize_t, sendmsg, (int fd, const struct msghdr* message, int flags), (fd, message, flags),
     kNoDisk)
CALL(int, flock, (int fd, int operation), (fd, operation), kNoDisk)
CALL(pid_t, fork, (void), (), kNoDisk)

static int is_file(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

ssize_t write(int fd, const void* data, size_t size) {
  static ssize_t (*real)(int, const void*, size_t);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "write");
  if (size == 1 || fd == STDERR_FILENO) return real(fd, data, size);
  return fault(is_file(fd) ? kDisk : kNoDisk) ? -1 : real(fd, data, size);
}
