#include "vmm_device/supervisor/clone_set.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <new>

namespace clonesafe::supervisor {

namespace {

constexpr std::size_t kMaxLine = 1024 * 1024;
// How long the line of a running clone waits for its guest's first exit: an idle guest may not
// leave the CPU for a while, and has no such time then.
constexpr std::uint64_t kFirstExitPatienceUs = 250'000;

std::uint64_t to_us(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(time.count()) * 1000;
}

}  // namespace

Result<SharedViolations> SharedViolations::create(std::uint32_t clones) {
  SharedViolations shared;
  auto mapping = Mapping::map("records of the jail", clones * sizeof(jail::Violation),
                              PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  if (!mapping) return fail(std::move(mapping).error());
  shared.mapping_ = std::move(*mapping);
  for (std::uint32_t i = 0; i < clones; ++i) new (&shared.of(i + 1)) jail::Violation;
  return shared;
}

jail::Violation& SharedViolations::of(std::uint32_t index) const {
  return reinterpret_cast<jail::Violation*>(mapping_.data())[index - 1];
}

CloneSet::CloneSet(const RestoreOptions& options, Wait wait, const RunDir& run_dir,
                   const SharedViolations& violations, Terminal& terminal)
    : options_(options),
      wait_(wait),
      run_dir_(run_dir),
      violations_(violations),
      terminal_(terminal) {
  clones_.reserve(options.count);
}

CloneSet::~CloneSet() {
  for (Clone& clone : clones_) {
    if (clone.gone) continue;
    ::kill(clone.pipe.pid, SIGKILL);
    (void)reap(clone.pipe);
  }
}

Status CloneSet::start(CloneRequest request, const RunClone& run_clone) {
  const auto index = static_cast<std::uint32_t>(clones_.size() + 1);
  request.index = index;
  request.folder = run_dir_.clone_folder(index);
  request.vsock_socket = request.folder / "vsock.sock";
  request.api_socket = request.folder / "api.sock";
  request.serial_log = request.folder / "serial.log";
  std::vector<int> parents_own;
  for (const Clone& clone : clones_) {
    parents_own.push_back(clone.pipe.events.get());
    parents_own.push_back(clone.pipe.process.get());
  }
  request.cgroup = options_.cgroup;
  request.violation = &violations_.of(index);
  request.requested_us = monotonic_us();
  if (!wait_until_us_) wait_until_us_ = request.requested_us + to_us(options_.timeout);
  auto pipe = spawn_clone(request, run_clone, parents_own);
  if (!pipe) return fail(std::move(pipe).error(), "clone " + std::to_string(index));
  clones_.push_back({.status = CloneStatus(index, request.requested_us),
                     .pipe = std::move(*pipe),
                     .folder = request.folder});
  return {};
}

int CloneSet::watch(int signals) {
  for (const Clone& clone : clones_) write_status_file(clone);
  while (alive() > 0) {
    show_progress();
    poll_once(signals);
    on_time();
    print_settled();
  }
  print_settled();
  return failed_ ? 1 : 0;
}

void CloneSet::poll_once(int signals) {
  // Each clone's lines and its process. A closed fd is -1, which poll ignores.
  std::vector<pollfd> fds{{.fd = signals, .events = POLLIN, .revents = 0}};
  for (const Clone& clone : clones_) {
    fds.push_back({.fd = clone.pipe.events.get(), .events = POLLIN, .revents = 0});
    fds.push_back(
        {.fd = clone.gone ? -1 : clone.pipe.process.get(), .events = POLLIN, .revents = 0});
  }
  if (::poll(fds.data(), fds.size(), poll_timeout_ms()) <= 0) return;
  for (std::size_t i = 0; i < clones_.size(); ++i) {
    Clone& clone = clones_[i];
    if (fds[1 + 2 * i].revents != 0) read_events(clone);
    if (fds[2 + 2 * i].revents != 0) take_end(clone);
  }
  // Last: a clone that was safe when the signal came counts as safe.
  if (fds[0].revents != 0) on_signal(signals);
}

int CloneSet::poll_timeout_ms() const {
  std::uint64_t next = std::numeric_limits<std::uint64_t>::max();
  if (wait_until_us_ && phase_ == Phase::running) next = *wait_until_us_;
  if (kill_at_us_) next = std::min(next, *kill_at_us_);
  for (const Clone& clone : clones_) {
    const auto running_at = clone.status.running_at();
    if (wait_ == Wait::running && running_at && !arrived(clone))
      next = std::min(next, *running_at + kFirstExitPatienceUs);
  }
  if (next == std::numeric_limits<std::uint64_t>::max()) return -1;
  const std::uint64_t now = monotonic_us();
  if (next <= now) return 0;
  return static_cast<int>(std::min<std::uint64_t>((next - now) / 1000 + 1, 60'000));
}

void CloneSet::read_events(Clone& clone) {
  char buffer[16384];
  for (;;) {
    const ssize_t got = ::read(clone.pipe.events.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      clone.pipe.events.reset();  // its end comes by the pidfd
      break;
    }
    clone.unread.append(buffer, static_cast<std::size_t>(got));
    take_lines(clone);
    if (!clone.pipe.events) break;
  }
}

void CloneSet::take_lines(Clone& clone) {
  Status status;
  std::size_t begin = 0;
  bool changed = false;
  for (std::size_t end; status && (end = clone.unread.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    status = clone.status.take(std::string_view(clone.unread).substr(begin, end - begin));
    changed = true;
  }
  clone.unread.erase(0, begin);
  if (status && clone.unread.size() > kMaxLine) status = fail("a line of more than 1 MiB");
  if (changed) write_status_file(clone);
  if (status) return;
  // What it says can't be trusted any more, and so not its saying that it is safe.
  clone.status.end(false, "its process sent what can't be understood: " + status.error().message());
  clone.pipe.events.reset();
  ::kill(clone.pipe.pid, SIGKILL);
}

void CloneSet::take_end(Clone& clone) {
  // All that it sent is in the pipe by now.
  if (clone.pipe.events) read_events(clone);
  auto end = reap(clone.pipe);
  clone.gone = true;
  clone.pipe.events.reset();
  if (!end) {
    clone.status.end(false, end.error().message());
  } else {
    clone.status.end(end->ok, reason_of(clone, *end));
  }
  write_status_file(clone);
  const std::string name = "clone " + std::to_string(clone.status.index()) + ": ";
  if (!clone.status.ended_well()) {
    failed_ = true;
    terminal_.error(name + clone.status.reason());
  } else if (phase_ == Phase::running && !arrived(clone)) {
    failed_ = true;
    terminal_.error(name + "ended before it was " + (wait_ == Wait::safe ? "safe: " : "running: ") +
                    clone.status.reason());
  } else if (clone.status.reason().starts_with("reset")) {
    // The guest's own doing, as a power-off is, but one that its owner wants to hear of.
    terminal_.note(name + clone.status.reason());
  }
}

std::string CloneSet::reason_of(const Clone& clone, const ProcessEnd& end) const {
  // What it recorded counts only if the kernel ended it for that.
  if (end.signal == SIGSYS) {
    const auto violation = jail::describe(violations_.of(clone.status.index()));
    return "ended by its jail: " + violation.value_or("a forbidden system call");
  }
  const bool killed_by_us = phase_ == Phase::killed && !end.ok && !clone.status.ended();
  return killed_by_us ? "did not stop, and was killed" : end.reason;
}

void CloneSet::on_signal(int signals) {
  signalfd_siginfo info = {};
  if (::read(signals, &info, sizeof info) != sizeof info) return;
  if (phase_ != Phase::running) return kill_all();
  if (!std::ranges::all_of(clones_, [&](const Clone& clone) { return arrived(clone); })) {
    failed_ = true;
    terminal_.error("stopped by signal " + std::to_string(info.ssi_signo) + " before all were " +
                    (wait_ == Wait::safe ? "safe" : "running"));
  }
  stop();
}

void CloneSet::on_time() {
  if (phase_ == Phase::running && wait_until_us_) {
    std::string late;
    for (const Clone& clone : clones_) {
      if (settled(clone)) continue;
      late += (late.empty() ? "" : ", ") + std::to_string(clone.status.index());
    }
    if (late.empty()) {
      wait_until_us_.reset();
    } else if (monotonic_us() >= *wait_until_us_) {
      failed_ = true;
      terminal_.error("not " + std::string(wait_ == Wait::safe ? "safe" : "running") + " within " +
                      std::to_string(options_.timeout.count()) + " ms: clone " + late +
                      "; all are stopped");
      stop();
    }
  }
  if (phase_ == Phase::asked_to_stop && kill_at_us_ && monotonic_us() >= *kill_at_us_) kill_all();
}

void CloneSet::stop() {
  phase_ = Phase::asked_to_stop;
  kill_at_us_ = monotonic_us() + to_us(options_.stop_grace);
  for (const Clone& clone : clones_)
    if (!clone.gone) ::kill(clone.pipe.pid, SIGTERM);
}

void CloneSet::kill_all() {
  phase_ = Phase::killed;
  kill_at_us_.reset();
  for (const Clone& clone : clones_)
    if (!clone.gone) ::kill(clone.pipe.pid, SIGKILL);
}

void CloneSet::write_status_file(const Clone& clone) {
  // A convenience for scripts: that it can't be written stops no clone, but is said.
  const auto status =
      replace_file(clone.folder / "clone.json", clone.status.json(true, clone.pipe.pid) + "\n");
  if (!status) terminal_.error(status.error().message());
}

bool CloneSet::arrived(const Clone& clone) const {
  if (wait_ == Wait::safe) return clone.status.safe();
  return clone.status.running() &&
         (clone.status.exited_to_vmm() || clone.gone ||
          monotonic_us() >= *clone.status.running_at() + kFirstExitPatienceUs);
}

bool CloneSet::settled(const Clone& clone) const {
  // An agent that reported `degraded` reports no second time for the same restore.
  return arrived(clone) || clone.gone || (wait_ == Wait::safe && clone.status.reported());
}

void CloneSet::print_settled() {
  for (; printed_ < clones_.size() && settled(clones_[printed_]); ++printed_) {
    const CloneStatus& status = clones_[printed_].status;
    terminal_.result(options_.json ? status.json(false) : status.line());
    if (wait_ == Wait::safe && status.reported() && !status.safe()) {
      failed_ = true;
      terminal_.error("clone " + std::to_string(status.index()) +
                      ": degraded: " + status.failed_repairs());
    }
  }
}

void CloneSet::show_progress() {
  std::size_t there = 0;
  for (const Clone& clone : clones_)
    if (arrived(clone)) ++there;
  terminal_.progress(std::to_string(there) + " of " + std::to_string(clones_.size()) +
                     (wait_ == Wait::safe ? " safe" : " running"));
}

std::size_t CloneSet::alive() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(clones_, [](const Clone& clone) { return !clone.gone; }));
}

}  // namespace clonesafe::supervisor
