#include "tests/lab/nested/lab_vm.h"

#include <gtest/gtest.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace clonesafe::lab {
namespace {

constexpr Seconds kRestoreTime{300};
constexpr int kCommandPort = 5001;

std::string variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread, at the start
  return value == nullptr ? "" : value;
}

const std::string& required(const std::string& value, const char* name) {
  if (value.empty())
    ADD_FAILURE() << "the environment lacks " << name << " (tests/lab/nested.sh sets it)";
  return value;
}

Result<UniqueFd> connect_unix(const std::filesystem::path& path) {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof address.sun_path) return fail(path.string() + ": too long");
  path.native().copy(address.sun_path, sizeof address.sun_path - 1);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno("connect to " + path.string());
  }
  return fd;
}

Result<UniqueFd> connect_vhost(std::uint32_t cid) {
  UniqueFd fd(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = kCommandPort;
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("connect to CID " + std::to_string(cid));
  return fd;
}

Result<std::string> receive_all(int fd, std::chrono::steady_clock::time_point deadline,
                                bool one_line) {
  std::string received;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd ready{fd, POLLIN, 0};
    if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) <= 0) {
      return fail("no answer in time; received so far: " + received);
    }
    char chunk[4096];
    const ssize_t size = read(fd, chunk, one_line ? 1 : sizeof chunk);
    if (size < 0) return fail_errno("read from the guest");
    if (size == 0) return received;
    received.append(chunk, static_cast<std::size_t>(size));
    if (one_line && received.back() == '\n') return received;
  }
}

Status send_line(int fd, const std::string& line) {
  if (send(fd, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    return fail_errno("write to the guest");
  }
  return {};
}

Result<std::string> exchange(int fd, const std::string& line,
                             std::chrono::steady_clock::time_point deadline, bool one_line) {
  if (auto sent = send_line(fd, line); !sent) return fail(std::move(sent).error());
  return receive_all(fd, deadline, one_line);
}

std::vector<std::string> preload(const Restored::Preloads& preloads) {
  std::string libraries;
  std::vector<std::string> environment;
  if (!preloads.entropy_log.empty()) {
    libraries = required(Lab::get().entropy_log_library, "CLONESAFE_LAB_ENTROPY_LOG");
    environment.push_back("CLONESAFE_ENTROPY_LOG=" + preloads.entropy_log.string());
  }
  if (!preloads.realtime_ns.empty()) {
    libraries += ":" + required(Lab::get().fixed_realtime_library, "CLONESAFE_LAB_FIXED_REALTIME");
    environment.push_back("CLONESAFE_FIXED_REALTIME_NS=" + preloads.realtime_ns);
  }
  if (!libraries.empty()) environment.push_back("LD_PRELOAD=" + libraries);
  return environment;
}

}  // namespace

const Lab& Lab::get() {
  static const Lab lab{
      .clonevm = required(variable("CLONESAFE_LAB_CLONEVM"), "CLONESAFE_LAB_CLONEVM"),
      .kernel = required(variable("CLONESAFE_LAB_KERNEL"), "CLONESAFE_LAB_KERNEL"),
      .initrd = variable("CLONESAFE_LAB_INITRD"),
      .entropy_log_library = variable("CLONESAFE_LAB_ENTROPY_LOG"),
      .fixed_realtime_library = variable("CLONESAFE_LAB_FIXED_REALTIME")};
  return lab;
}

Scratch::Scratch() {
  std::string name = (std::filesystem::temp_directory_path() / "lab.XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "cannot make " << name;
  path_ = name;
}

Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Connects to the guest's command server, which may not be up yet, or hear of a restore first.
Result<UniqueFd> Guest::connect(std::chrono::steady_clock::time_point deadline) const {
  const std::string request = "CONNECT " + std::to_string(kCommandPort) + "\n";
  for (;;) {
    if (vhost_cid_) {
      auto fd = connect_vhost(*vhost_cid_);
      if (fd || std::chrono::steady_clock::now() > deadline) return fd;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      continue;
    }
    auto fd = connect_unix(vsock_);
    if (!fd) return fail(std::move(fd).error());
    auto hello = exchange(fd->get(), request, deadline, true);
    if (!hello) return fail(std::move(hello).error());
    if (hello->starts_with("OK ")) return std::move(*fd);
    if (!hello->empty()) return fail("the vsock host end says '" + *hello + "'");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

Result<UniqueFd> Guest::start(const std::string& command, Seconds timeout) const {
  auto fd = connect(std::chrono::steady_clock::now() + timeout);
  if (!fd) return fd;
  if (auto sent = send_line(fd->get(), command + "\n"); !sent) return fail(std::move(sent).error());
  return fd;
}

Result<Outcome> Guest::run(const std::string& command, Seconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  auto fd = connect(deadline);
  if (!fd) return fail(std::move(fd).error());
  auto answer = exchange(fd->get(), command + "\n", deadline, false);
  if (!answer) return fail(std::move(answer).error(), command);
  const auto end = answer->rfind('\0');
  if (end == std::string::npos) return fail(command + ": answer cut short: " + *answer);
  Outcome outcome{std::atoi(answer->c_str() + end + 1), answer->substr(0, end)};  // NOLINT
  if (outcome.output.ends_with('\n')) outcome.output.pop_back();
  return outcome;
}

std::string Guest::get(const std::string& command) const {
  auto outcome = run(command);
  if (!outcome) {
    ADD_FAILURE() << command << ": " << outcome.error().message();
    return "";
  }
  EXPECT_EQ(outcome->status, 0) << command << ": " << outcome->output;
  return outcome->output;
}

void Guest::put(const std::string& text, const std::string& path) const {
  // A command is one line.
  std::string command = "printf '%b' '";
  for (const char c : text) {
    if (c == '\n')
      command += "\\n";
    else if (c == '\\')
      command += "\\\\";
    else if (c == '\'')
      command += "\\0047";
    else if (c == '%')
      command += "\\0045";
    else
      command += c;
  }
  get(command + "' >" + path);
}

std::string Guest::host_status(const std::string& member) const {
  const auto outcome =
      lab::run({Lab::get().clonevm, "status", "--api", api_.string()}, Seconds(60));
  if (!outcome || outcome->status != 0) {
    ADD_FAILURE() << "clonevm status: " << (outcome ? outcome->output : outcome.error().message());
    return "";
  }
  const auto status = boost::json::parse(outcome->output).as_object();
  const auto& value = status.at(member);
  return value.is_string() ? std::string(value.get_string()) : boost::json::serialize(value);
}

void Guest::order(const std::string& verb) const {
  const auto outcome = lab::run({Lab::get().clonevm, verb, "--api", api_.string()}, Seconds(60));
  if (!outcome || outcome->status != 0)
    ADD_FAILURE() << verb << ": " << (outcome ? outcome->output : outcome.error().message());
}

Result<Outcome> Guest::snapshot(const std::filesystem::path& directory,
                                const std::vector<std::string>& options) const {
  std::vector<std::string> arguments = {Lab::get().clonevm, "snapshot", "--api",
                                        api_.string(),      "--out",    directory.string()};
  arguments.insert(arguments.end(), options.begin(), options.end());
  return lab::run(arguments, kRestoreTime);
}

std::unique_ptr<BootedVm> BootedVm::boot(const std::filesystem::path& folder,
                                         const BootOptions& options) {
  return boot_until(folder, options, "READY");
}

std::unique_ptr<BootedVm> BootedVm::boot_until(const std::filesystem::path& folder,
                                               const BootOptions& options,
                                               const std::string& marker) {
  std::filesystem::create_directories(folder);
  const Lab& lab = Lab::get();
  std::vector<std::string> arguments = {options.program.empty() ? lab.clonevm : options.program,
                                        "run",
                                        "--kernel",
                                        lab.kernel,
                                        "--initrd",
                                        required(lab.initrd, "CLONESAFE_LAB_INITRD"),
                                        "--cmdline",
                                        "console=ttyS0 panic=-1 quiet " + options.cmdline,
                                        "--mem",
                                        options.memory,
                                        "--cpus",
                                        std::to_string(options.cpus),
                                        "--vsock",
                                        "cid=3,path=" + (folder / "vsock").string(),
                                        "--api",
                                        (folder / "api").string(),
                                        "--serial",
                                        (folder / "console").string()};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  auto process = Process::start(
      arguments, preload({.entropy_log = options.entropy_log ? folder / "entropy.log"
                                                             : std::filesystem::path(),
                          .realtime_ns = {}}));
  if (!process) {
    ADD_FAILURE() << process.error().message();
    return nullptr;
  }
  std::unique_ptr<BootedVm> vm(new BootedVm(folder, std::move(*process)));
  if (!eventually(kBootTime, [&] { return vm->console().find(marker) != std::string::npos; })) {
    ADD_FAILURE() << "no '" << marker << "' on the console: " << vm->console();
    return nullptr;
  }
  return vm;
}

Guest BootedVm::guest() const {
  return {folder_ / "vsock", folder_ / "api"};
}

std::string BootedVm::console() const {
  return read_file(folder_ / "console");
}

std::unique_ptr<Restored> Restored::start(const std::filesystem::path& snapshot,
                                          const std::filesystem::path& run_dir, int count,
                                          const std::vector<std::string>& options,
                                          const Preloads& preloads) {
  return start_command({Lab::get().clonevm, "restore", snapshot.string()}, run_dir, count, options,
                       preload(preloads));
}

std::unique_ptr<Restored> Restored::start_command(std::vector<std::string> arguments,
                                                  const std::filesystem::path& run_dir, int count,
                                                  const std::vector<std::string>& options,
                                                  const std::vector<std::string>& environment) {
  for (const std::string& argument : std::vector<std::string>{
           "--count", std::to_string(count), "--run-dir", run_dir.string(), "--json"})
    arguments.push_back(argument);
  arguments.insert(arguments.end(), options.begin(), options.end());
  auto process = Process::start(arguments, environment);
  if (!process) {
    ADD_FAILURE() << process.error().message();
    return nullptr;
  }
  return std::unique_ptr<Restored>(new Restored(run_dir, std::move(*process)));
}

bool Restored::await_reports(int count) {
  for (int clone = 0; clone < count; ++clone) {
    auto line = process_.read_line(kRestoreTime);
    if (!line) {
      ADD_FAILURE() << "restore: " << line.error().message();
      return false;
    }
    boost::system::error_code error;
    auto report = boost::json::parse(*line, error);
    if (error || !report.is_object()) {
      ADD_FAILURE() << "restore printed '" << *line << "'";
      return false;
    }
    reports_.push_back(report.as_object());
  }
  std::ranges::sort(reports_, {}, [](const boost::json::object& report) {
    return report.at("clone").to_number<int>();
  });
  return true;
}

std::unique_ptr<Restored> Restored::restore(const std::filesystem::path& snapshot,
                                            const std::filesystem::path& run_dir, int count,
                                            const std::vector<std::string>& options,
                                            const std::filesystem::path& entropy_log) {
  auto restored =
      start(snapshot, run_dir, count, options, {.entropy_log = entropy_log, .realtime_ns = {}});
  if (restored && !restored->await_reports(count)) return nullptr;
  return restored;
}

std::unique_ptr<Restored> Restored::fork(const std::filesystem::path& api,
                                         const std::filesystem::path& run_dir, int count,
                                         const std::vector<std::string>& options) {
  auto forked = start_command({Lab::get().clonevm, "fork", "--api", api.string()}, run_dir, count,
                              options, {});
  if (forked && !forked->await_reports(count)) return nullptr;
  return forked;
}

Guest Restored::guest(int clone) const {
  const auto folder = run_dir_ / std::to_string(clone);
  return {folder / "vsock.sock", folder / "api.sock"};
}

}  // namespace clonesafe::lab
