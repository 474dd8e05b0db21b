#include "tests/audit/guest/workload.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>
#include <thread>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::audit {
namespace {

// A probe that warms up with at least as many draws is one that draws without starting a program.
constexpr std::uint64_t kQuickWarmDraws = 10;
constexpr unsigned kMaxThreads = 64;
constexpr auto kLookAgain = std::chrono::milliseconds(10);

Status write_file(const std::string& path, std::string_view text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno("opening " + path);
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return fail_errno("writing " + path);
  }
  return {};
}

std::string read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[4096];
  const ssize_t size = fd ? ::read(fd.get(), text, sizeof text) : -1;
  return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : std::string();
}

Result<Mapping> make_log(const std::string& path, const std::string& name, uid_t user) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return fail_errno("making " + path);
  const std::size_t size = probe_log_size(kProbeLogCapacity);
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return fail_errno("sizing " + path);
  if (::fchown(fd.get(), user, user) != 0) return fail_errno("chown of " + path);
  auto memory = Mapping::map(path, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get());
  if (!memory) return memory;
  auto* header = reinterpret_cast<ProbeLogHeader*>(memory->data());
  header->version = kProbeLogVersion;
  header->record_size = sizeof(ProbeRecord);
  header->capacity = kProbeLogCapacity;
  std::memcpy(header->name, name.data(), name.size());
  std::memcpy(header->magic, kProbeLogMagic, sizeof header->magic);
  return memory;
}

// The logs of `NAME[,NAME]...[*THREADS]`; none if it isn't that.
std::vector<std::string> logs_of(const std::string& text) {
  const std::size_t star = text.find('*');
  unsigned threads = 1;
  if (star != std::string::npos) {
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data() + star + 1, end, threads);
    if (error != std::errc{} || rest != end || threads == 0 || threads > kMaxThreads) return {};
  }
  std::vector<std::string> logs;
  for (unsigned thread = 1; thread <= threads; ++thread) {
    std::istringstream names(text.substr(0, star));
    for (std::string name; std::getline(names, name, ',');) {
      if (star != std::string::npos) name += "." + std::to_string(thread);
      logs.push_back(std::move(name));
    }
  }
  return logs;
}

bool is_log_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.size() < sizeof(ProbeLogHeader::name) &&
         name.find('/') == std::string::npos;
}

// Only async-signal-safe calls: this runs between fork and exec.
[[noreturn]] void become_probe(const char* cgroup_procs, uid_t user, int niceness,
                               char* const* arguments) {
  const int fd = ::open(cgroup_procs, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || ::write(fd, "0", 1) != 1) _exit(124);
  if (::setpriority(PRIO_PROCESS, 0, niceness) != 0) _exit(126);
  if (::setgroups(0, nullptr) != 0 || ::setgid(user) != 0 || ::setuid(user) != 0) _exit(125);
  ::execvp(arguments[0], arguments);
  _exit(127);
}

}  // namespace

Result<std::vector<ProbeSpec>> parse_probe_list(std::string_view text) {
  std::vector<ProbeSpec> probes;
  std::set<std::string> names;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line);
    ProbeSpec probe;
    std::string warm;
    if (!(words >> probe.name) || probe.name.starts_with('#')) continue;
    words >> warm;
    const auto [end, error] =
        std::from_chars(warm.data(), warm.data() + warm.size(), probe.warm_draws);
    for (std::string word; words >> word;) probe.command.push_back(word);
    const std::string where = "probes list, line " + std::to_string(number);
    probe.logs = logs_of(probe.name);
    if (error != std::errc{} || end != warm.data() + warm.size() || probe.command.empty() ||
        probe.logs.empty()) {
      return fail(where + ": not NAME[,NAME]...[*THREADS] WARM_DRAWS COMMAND [ARGUMENT]...");
    }
    for (const std::string& name : probe.logs) {
      if (!is_log_name(name))
        return fail(where + ": '" + name + "' is empty, too long for a name, or holds a '/'");
      if (!names.insert(name).second) return fail(where + ": a second log named " + name);
    }
    probes.push_back(std::move(probe));
  }
  if (probes.empty()) return fail("the probes list names no probe");
  return probes;
}

Result<Workload> Workload::start(std::vector<ProbeSpec> probes, WorkloadOptions options) {
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) return fail("making " + options.folder + ": " + error.message());
  // The probes reach their own log by its path.
  ::chmod(options.folder.c_str(), 0755);
  std::filesystem::create_directories(options.cgroup, error);
  if (error) return fail("making the cgroup " + options.cgroup + ": " + error.message());

  Workload workload;
  workload.options_ = std::move(options);
  const std::string procs = workload.options_.cgroup + "/cgroup.procs";
  for (ProbeSpec& spec : probes) {
    auto paths = workload.make_logs(spec);
    if (!paths) return fail(paths.error());
    std::vector<std::string> words = spec.command;
    words.insert(words.end(), paths->begin(), paths->end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) return fail_errno("fork for probe " + spec.name);
    if (pid == 0) {
      // Probes that spin between their draws give way to those that start a program for each: on an
      // emulated machine these would not draw once.
      const int niceness = spec.warm_draws >= kQuickWarmDraws ? 10 : 0;
      become_probe(procs.c_str(), workload.options_.user, niceness, arguments.data());
    }
    workload.probes_.push_back({std::move(spec), pid, {}});
  }
  return workload;
}

Result<std::vector<std::string>> Workload::make_logs(const ProbeSpec& spec) {
  std::vector<std::string> paths;
  for (const std::string& name : spec.logs) {
    paths.push_back(options_.folder + "/" + name + ".log");
    auto memory = make_log(paths.back(), name, options_.user);
    if (!memory) return fail(memory.error());
    logs_.push_back({name, probes_.size(), *std::move(memory)});
  }
  return paths;
}

Status Workload::wait_warm(std::chrono::milliseconds limit) {
  const auto until = Clock::now() + limit;
  std::vector<std::uint64_t> goals;
  for (std::size_t i = 0; i < size(); ++i) goals.push_back(spec_of(i).warm_draws);
  if (auto status = run_to(goals, until); !status) return status;
  // Once all are warm they draw at the same time again: a snapshot is to meet them at work. Those
  // that start a program for each draw are at work while it runs.
  for (std::size_t i = 0; i < size(); ++i) {
    goals[i] = completed(i) + (spec_of(i).warm_draws >= kQuickWarmDraws ? 1 : 0);
  }
  go_on();
  return wait_for(goals, until, false);
}

Status Workload::wait_advanced(std::uint64_t draws, std::chrono::milliseconds limit) {
  std::vector<std::uint64_t> goals;
  // A probe that is slow to warm up is slow for good.
  for (std::size_t i = 0; i < size(); ++i) {
    goals.push_back(completed(i) + std::min(draws, spec_of(i).warm_draws));
  }
  go_on();
  return run_to(goals, Clock::now() + limit);
}

Status Workload::run_to(const std::vector<std::uint64_t>& goals, Clock::time_point until) {
  auto status = wait_for(goals, until, true);
  for (const Probe& probe : probes_) signal_probe(probe, SIGSTOP);
  return status;
}

Status Workload::wait_for(const std::vector<std::uint64_t>& goals, Clock::time_point until,
                          bool stop_arrived) {
  std::vector<bool> arrived(probes_.size(), false);
  for (;;) {
    std::string missing;
    std::vector<bool> here(probes_.size(), true);
    for (std::size_t i = 0; i < size(); ++i) {
      if (arrived[logs_[i].probe] || completed(i) >= goals[i]) continue;
      here[logs_[i].probe] = false;
      missing += " " + name(i);
    }
    for (std::size_t i = 0; i < probes_.size(); ++i) {
      if (stop_arrived && here[i] && !arrived[i]) signal_probe(probes_[i], SIGSTOP);
      arrived[i] = here[i];
    }
    if (missing.empty()) return {};
    if (const auto gone = ended(); !gone.empty()) return fail("a probe ended: " + gone.front());
    if (Clock::now() >= until) return fail("not drawn enough in time:" + missing);
    std::this_thread::sleep_for(kLookAgain);
  }
}

void Workload::go_on() {
  for (const Probe& probe : probes_) signal_probe(probe, SIGCONT);
}

void Workload::signal_probe(const Probe& probe, int signal) {
  // A probe that has ended is reported by ended().
  if (probe.pid > 0) ::kill(probe.pid, signal);
}

Status Workload::freeze() {
  return set_frozen(true);
}
Status Workload::thaw() {
  return set_frozen(false);
}

Status Workload::set_frozen(bool frozen) {
  if (auto status = write_file(options_.cgroup + "/cgroup.freeze", frozen ? "1" : "0"); !status) {
    return status;
  }
  const std::string_view wanted = frozen ? "frozen 1" : "frozen 0";
  const auto until = Clock::now() + std::chrono::seconds(5);
  while (Clock::now() < until) {
    if (read_file(options_.cgroup + "/cgroup.events").find(wanted) != std::string::npos) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return fail(options_.cgroup + " is not \"" + std::string(wanted) + "\" after 5 s");
}

std::vector<std::string> Workload::ended() {
  std::vector<std::string> gone;
  for (Probe& probe : probes_) {
    int status = 0;
    if (probe.pid > 0 && ::waitpid(probe.pid, &status, WNOHANG) == probe.pid) {
      probe.pid = 0;
      probe.end = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                      : "exit code " + std::to_string(WEXITSTATUS(status));
    }
    if (!probe.end.empty()) gone.push_back(probe.spec.name + ": " + probe.end);
  }
  return gone;
}

const ProbeLogHeader& Workload::header(std::size_t index) const {
  return *reinterpret_cast<const ProbeLogHeader*>(logs_[index].memory.data());
}

std::uint64_t Workload::completed(std::size_t index) const {
  auto* field = const_cast<std::uint64_t*>(&header(index).completed);
  return std::atomic_ref(*field).load(std::memory_order_acquire);
}

std::string_view Workload::log(std::size_t index) const {
  const std::uint64_t records = std::min(completed(index), header(index).capacity);
  return {reinterpret_cast<const char*>(logs_[index].memory.data()), probe_log_size(records)};
}

}  // namespace clonesafe::audit
