#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "clonesafe/abi/restore_page.h"
#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/snapshot/chain.h"
#include "vmm_device/supervisor/clone_set.h"
#include "vmm_device/supervisor/key_option.h"
#include "vmm_device/supervisor/metadata.h"
#include "vmm_device/supervisor/run_dir.h"
#include "vmm_device/supervisor/supervisor.h"
#include "vmm_device/supervisor/terminal.h"

namespace clonesafe::supervisor {

namespace {

constexpr std::uint32_t kMaxClones = 10'000;

// While it lives, what asks the command to stop is read from a file descriptor instead of ending
// the process, from before the first fork: no clone can be missed.
class StopSignals {
 public:
  static Result<StopSignals> take() {
    sigset_t stop;
    ::sigemptyset(&stop);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&stop, signal);
    StopSignals signals;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the process has one thread
    if (::sigprocmask(SIG_BLOCK, &stop, &signals.before_) != 0) return fail_errno("sigprocmask");
    signals.taken_ = true;
    signals.fd_ = UniqueFd(::signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals.fd_) return fail_errno("signalfd");
    return signals;
  }
  StopSignals(StopSignals&& other) noexcept
      : fd_(std::move(other.fd_)),
        before_(other.before_),
        taken_(std::exchange(other.taken_, false)) {}
  StopSignals& operator=(StopSignals&&) = delete;
  ~StopSignals() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): as above
    if (taken_) ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  int fd() const { return fd_.get(); }

 private:
  StopSignals() = default;
  UniqueFd fd_;
  sigset_t before_ = {};
  bool taken_ = false;
};

Status check(const RestoreOptions& options) {
  if (options.count == 0 || options.count > kMaxClones)
    return fail("--count " + std::to_string(options.count) + ": must be 1 to " +
                std::to_string(kMaxClones));
  if (options.move && options.count != 1)
    return fail("--move uses the snapshot up, so --count can only be 1");
  return {};
}

// A clone costs two file descriptors here.
void allow_many_files() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // where it is too low, a fork's error says so
}

Result<Taken> import_snapshot(const RestoreOptions& options, Terminal& terminal) {
  auto key = read_key(options.key);
  if (!key) return fail(std::move(key).error());
  auto chain = snapshot::open_chain(options.snapshot, options.parents, key->get());
  if (!chain) return fail(std::move(chain).error());
  auto memory = chain->import_memory([&](std::uint64_t done, std::uint64_t total) {
    terminal.progress("checking and importing memory", done, total);
  });
  if (!memory) return fail(std::move(memory).error());
  return Taken{.snapshot = chain->top(), .memory = std::move(*memory)};
}

Result<int> restore(const RestoreOptions& options, const std::function<Result<Taken>()>& take,
                    const RunClone& run_clone, Terminal& terminal) {
  if (auto status = check(options); !status) return fail(std::move(status).error());
  std::vector<std::vector<std::byte>> metadata(options.count);
  if (options.metadata) {
    auto documents = read_metadata(*options.metadata, options.count);
    if (!documents) return fail(std::move(documents).error());
    metadata = std::move(*documents);
  }
  allow_many_files();
  auto signals = StopSignals::take();
  if (!signals) return fail(std::move(signals).error());

  // Once for all clones, and before anything is made that a damaged snapshot would leave behind.
  auto taken = take();
  if (!taken) return fail(std::move(taken).error());
  const snapshot::Snapshot& snapshot = taken->snapshot;
  if (options.prepare) {
    if (auto prepared = options.prepare(snapshot); !prepared)
      return fail(std::move(prepared).error());
  }
  auto run_dir = RunDir::create(options.run_dir, options.count);
  if (!run_dir) return fail(std::move(run_dir).error());
  if (!options.run_dir) terminal.note("clones are in " + run_dir->path().string());
  // The last step that can fail without a clone: after it the snapshot is gone, for others too.
  if (options.move) {
    if (auto status = snapshot.consume(); !status) {
      run_dir->remove();
      return fail(std::move(status).error());
    }
  }

  Wait wait = options.wait;
  if (wait == Wait::automatic) wait = snapshot.agent_connected() ? Wait::safe : Wait::running;
  auto shared = SharedViolations::create(options.count);
  if (!shared) return fail(std::move(shared).error());
  CloneSet clones(options, wait, *run_dir, *shared, terminal);
  for (std::uint32_t i = 0; i < options.count; ++i) {
    const CloneRequest request{.snapshot = &snapshot,
                               .memory_fd = taken->memory.get(),
                               .move = options.move,
                               .track_dirty = options.track_dirty,
                               .metadata = metadata[i]};
    if (auto status = clones.start(request, run_clone); !status)
      return fail(std::move(status).error());
  }
  if (options.confine) {
    if (auto status = options.confine(); !status) return fail(std::move(status).error(), "jail");
  }
  return clones.watch(signals->fd());
}

int command(const char* name, const RestoreOptions& options,
            const std::function<Result<Taken>()>& take, const RunClone& run_clone,
            Terminal& terminal) {
  // A buffer that is not empty would be in every clone too.
  std::fflush(nullptr);
  auto code = restore(options, take, run_clone, terminal);
  if (code) return *code;
  terminal.error(std::string(name) + ": " + code.error().message());
  return 1;
}

}  // namespace

int restore_command(const RestoreOptions& options, const RunClone& run_clone, std::FILE* out,
                    std::FILE* err) {
  Terminal terminal(out, err);
  return command(
      "restore", options, [&] { return import_snapshot(options, terminal); }, run_clone, terminal);
}

int fork_command(const RestoreOptions& options, const std::function<Result<Taken>()>& take,
                 const RunClone& run_clone, std::FILE* out, std::FILE* err) {
  Terminal terminal(out, err);
  return command("fork", options, take, run_clone, terminal);
}

}  // namespace clonesafe::supervisor
