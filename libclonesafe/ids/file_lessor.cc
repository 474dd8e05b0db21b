// Worker ids for the processes of one machine: a locked file for each, of all ids or of those that
// the operator gave the machine.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "clonesafe/ids.h"
#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/ids/clock.h"
#include "libclonesafe/ids/worker_range.h"

using namespace clonesafe;
using namespace clonesafe::ids;

namespace {

// How far ahead a holder's use of its worker id is written down: so long is an id out of use after
// its holder died.
constexpr std::uint64_t kAheadMs = 1000;
constexpr std::uint64_t kMostTries = 65536;
constexpr int kLockTries = 100;
constexpr std::size_t kDocumentLimit = 65536;
constexpr char kDocument[] = "/run/clonesafe/metadata";

struct Folder {
  int fd;
  unsigned flags;
  char*
      document;  // the operator's, which names the machine's worker ids; null: they are all its own
};

// What a lease's handle points to.
struct Worker {
  int file;
};

// Takes the lock of an open file description: it conflicts with any other opening of the file, in
// this process too, and ends with the last copy of this one.
bool set_lock(int fd, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

// O_NOFOLLOW and the count of names: what is written to must be a file of this folder and no other.
UniqueFd open_file(const Folder& folder, const char* name) {
  UniqueFd file(::openat(folder.fd, name,
                         O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0660));
  struct stat status = {};
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_nlink != 1) {
    return UniqueFd();
  }
  return file;
}

// A file holds nothing, or numbers of 16 hexadecimal digits, each with a character after it.
constexpr std::size_t kNumberLength = 17;

bool read_numbers(int fd, std::uint64_t* numbers, std::size_t count) {
  char text[3 * kNumberLength];
  std::fill_n(numbers, count, 0);
  const ssize_t length = ::pread(fd, text, sizeof(text), 0);
  if (length == 0) return true;
  if (length != static_cast<ssize_t>(count * kNumberLength)) return false;
  for (std::size_t i = 0; i < count * kNumberLength; ++i) {
    const char c = text[i];
    if (i % kNumberLength == kNumberLength - 1) {
      if (c != '\n') return false;
      continue;
    }
    const bool decimal = c >= '0' && c <= '9';
    if (!decimal && (c < 'a' || c > 'f')) return false;
    std::uint64_t& number = numbers[i / kNumberLength];
    number = number << 4 | static_cast<std::uint64_t>(decimal ? c - '0' : c - 'a' + 10);
  }
  return true;
}

bool write_numbers(int fd, const std::uint64_t* numbers, std::size_t count) {
  char text[2 * kNumberLength + 1];
  for (std::size_t i = 0; i < count; ++i) {
    (void)std::snprintf(text + i * kNumberLength, kNumberLength + 1, "%016" PRIx64 "\n",
                        numbers[i]);
  }
  const std::size_t length = count * kNumberLength;
  return ::pwrite(fd, text, length, 0) == static_cast<ssize_t>(length);
}

// Whether the folder is still on the machine on which it was first used, and is no clone's copy.
// The generation that the page tells and the one of VMCLOCK are remembered each for itself: a
// source may appear later.
bool is_of_this_generation(const Folder& folder) {
  const UniqueFd file = open_file(folder, "generation");
  if (!file) return false;
  for (int i = 0; !set_lock(file.get(), F_WRLCK); ++i) {
    if (i == kLockTries) return false;
    const timespec step = {.tv_sec = 0, .tv_nsec = 1'000'000};
    (void)::clock_nanosleep(CLOCK_MONOTONIC, 0, &step, nullptr);
  }
  cs_stamp stamp = {};
  std::uint64_t known[2] = {};
  if (cs_generation(&stamp) != 0 || !read_numbers(file.get(), known, 2)) return false;
  const bool has_page = stamp.words[3] != 0;
  const std::uint64_t now[2] = {has_page ? stamp.generation : 0, stamp.words[2]};
  bool learned = false;
  for (int i = 0; i < 2; ++i) {
    if (now[i] == 0 || now[i] == known[i]) continue;
    if (known[i] != 0) return false;
    known[i] = now[i];
    learned = true;
  }
  return !learned || write_numbers(file.get(), known, 2);
}

bool take_worker(const Folder& folder, std::uint64_t worker, cs_lease& lease) {
  char name[32];
  (void)std::snprintf(name, sizeof(name), "worker-%" PRIu64, worker);
  UniqueFd file = open_file(folder, name);
  std::uint64_t used_until_ms = 0;
  if (!file || !set_lock(file.get(), F_WRLCK) || !read_numbers(file.get(), &used_until_ms, 1)) {
    return false;
  }
  // Used in what is still the future here: its holder died just now, or the clock was set back.
  if (used_until_ms >= realtime_ms()) return false;
  void* memory = std::malloc(sizeof(Worker));
  if (memory == nullptr) return false;
  lease.worker = worker;
  lease.used_until_ms = std::max<std::uint64_t>(used_until_ms, 1);
  lease.handle = new (memory) Worker{.file = file.release()};
  return true;
}

int file_of(const cs_lease* lease) {
  return static_cast<const Worker*>(lease->handle)->file;
}

// The agent says "safe" only when the document is the one of this restore, or there is none.
bool is_document_of(const cs_stamp& stamp) {
  struct cs_status_report status = {};
  return cs_status(&status, sizeof(status)) == 0 && status.state == CS_STATE_SAFE &&
         status.stamp.generation == stamp.generation;
}

int read_range(const char* document, WorkerRange& range) {
  const UniqueFd file(::open(document, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return CS_E_NO_LEASE;
  auto* const text = static_cast<char*>(std::malloc(kDocumentLimit));
  if (text == nullptr) return CS_E_MEMORY;
  const ssize_t size = ::pread(file.get(), text, kDocumentLimit, 0);
  RangeCondition condition = RangeCondition::kAbsent;
  // A document that is cut could end within a number.
  if (size == static_cast<ssize_t>(kDocumentLimit))
    condition = RangeCondition::kMalformed;
  else if (size > 0)
    condition = find_worker_range({text, static_cast<std::size_t>(size)}, range);
  std::free(text);
  if (condition == RangeCondition::kMalformed) return CS_E_INVALID;
  return condition == RangeCondition::kFound ? 0 : CS_E_NO_LEASE;
}

// Which of the ids below `workers` this machine has.
int find_range(const Folder& folder, std::uint64_t workers, WorkerRange& range) {
  if (folder.document == nullptr) {
    range = {.first = 0, .last = workers - 1};
    const bool shared = (folder.flags & CS_LESSOR_SHARED_FOLDER) != 0;
    return shared || is_of_this_generation(folder) ? 0 : CS_E_NO_LEASE;
  }
  cs_stamp stamp = {};
  if (const int result = cs_generation(&stamp); result != 0) return result;
  if (!is_document_of(stamp)) return CS_E_NO_LEASE;
  if (const int result = read_range(folder.document, range); result != 0) return result;
  if (range.last >= workers) return CS_E_INVALID;
  return is_document_of(stamp) ? 0 : CS_E_NO_LEASE;
}

int acquire(void* context, uint64_t workers, struct cs_lease* lease) {
  const auto& folder = *static_cast<const Folder*>(context);
  WorkerRange range;
  if (const int result = find_range(folder, workers, range); result != 0) return result;
  const std::uint64_t count = range.last - range.first + 1;
  std::uint64_t first = 0;
  if (const int result = cs_random(&first, sizeof(first)); result != 0) return result;
  for (std::uint64_t i = 0; i < std::min(count, kMostTries); ++i) {
    if (!take_worker(folder, range.first + (first % count + i) % count, *lease)) continue;
    // What another machine used that had the id before stands in no file of this one.
    if (folder.document != nullptr) lease->used_until_ms = 0;
    return 0;
  }
  return CS_E_NO_LEASE;
}

void release(void* context, const struct cs_lease* lease, int lost, uint64_t last_ms) {
  const auto& folder = *static_cast<const Folder*>(context);
  const int file = file_of(lease);
  std::free(lease->handle);
  if (lost == 0) {
    (void)write_numbers(file, &last_ms, 1);
    (void)set_lock(file, F_UNLCK);
  } else if ((lost & CS_CHANGED_GENERATION) != 0 && (folder.flags & CS_LESSOR_SHARED_FOLDER) != 0) {
    // To close it would tell the folder's server, in the name of the machine that was cloned, that
    // its lock has ended. So it stays open: one file for each restore.
    return;
  }
  (void)::close(file);
}

int advance(void*, const struct cs_lease* lease, uint64_t* until_ms) {
  const std::uint64_t until = *until_ms + kAheadMs;
  if (!write_numbers(file_of(lease), &until, 1)) return CS_E_NO_LEASE;
  *until_ms = until;
  return 0;
}

void destroy(void* context) {
  auto* folder = static_cast<Folder*>(context);
  (void)::close(folder->fd);
  std::free(folder->document);
  std::free(folder);
}

// `document` is the lessor's from now on.
int make_lessor(const char* folder, unsigned flags, char* document, struct cs_lessor* lessor) {
  const int kept_errno = errno;
  UniqueFd fd(::open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat status = {};
  const bool usable = fd && ::fstat(fd.get(), &status) == 0 && (status.st_mode & S_IWOTH) == 0;
  errno = kept_errno;
  void* memory = usable ? std::malloc(sizeof(Folder)) : nullptr;
  if (memory == nullptr) {
    std::free(document);
    return usable ? CS_E_MEMORY : CS_E_INVALID;
  }
  lessor->context = new (memory) Folder{.fd = fd.release(), .flags = flags, .document = document};
  lessor->acquire = acquire;
  lessor->release = release;
  lessor->advance = advance;
  lessor->destroy = destroy;
  return 0;
}

}  // namespace

int cs_file_lessor(const char* folder, unsigned flags, struct cs_lessor* lessor) {
  if (lessor == nullptr) return CS_E_INVALID;
  *lessor = {};
  if (folder == nullptr || (flags & ~CS_LESSOR_SHARED_FOLDER) != 0) return CS_E_INVALID;
  return make_lessor(folder, flags, nullptr, lessor);
}

int cs_metadata_lessor(const char* document, const char* folder, struct cs_lessor* lessor) {
  if (lessor == nullptr) return CS_E_INVALID;
  *lessor = {};
  if (folder == nullptr) return CS_E_INVALID;
  char* const copy = ::strdup(document != nullptr ? document : kDocument);
  if (copy == nullptr) return CS_E_MEMORY;
  return make_lessor(folder, 0, copy, lessor);
}
