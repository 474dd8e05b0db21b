// nested: tests of clonevm with real KVM and unmodified Debian guests. One GoogleTest program that
// runs on a host with KVM (tests/lab/on-kvm-host.sh), starts clonevm as a user would, and looks
// into the guests through their command server.
#ifndef CLONESAFE_TESTS_LAB_NESTED_LAB_VM_H_
#define CLONESAFE_TESTS_LAB_NESTED_LAB_VM_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "tests/lab/nested/process.h"

namespace clonesafe::lab {

// What the environment says: CLONESAFE_LAB_CLONEVM, _KERNEL, and where a test needs them _INITRD,
// _ENTROPY_LOG and _FIXED_REALTIME (preload libraries).
struct Lab {
  std::string clonevm;
  std::string kernel;
  std::string initrd;
  std::string entropy_log_library;
  std::string fixed_realtime_library;
  static const Lab& get();
};

// A folder for one test, removed with the object.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// A running guest, seen through its vsock socket and API socket.
class Guest {
 public:
  Guest(std::filesystem::path vsock, std::filesystem::path api)
      : vsock_(std::move(vsock)), api_(std::move(api)) {}
  // One of another VMM, behind the host's vhost-vsock. It has no API.
  explicit Guest(std::uint32_t vhost_cid) : vhost_cid_(vhost_cid) {}

  // Runs a shell command as the guest's root. The output's last newline is cut off.
  Result<Outcome> run(const std::string& command, Seconds timeout = Seconds(60)) const;
  // Begins one, and gives the other end of its output.
  Result<UniqueFd> start(const std::string& command, Seconds timeout = Seconds(60)) const;
  // As run(), for a command that must succeed; the test fails if it does not.
  std::string get(const std::string& command) const;
  // Writes a file.
  void put(const std::string& text, const std::string& path) const;
  // `clonevm status` of it: a member's text, or JSON if it is none.
  std::string host_status(const std::string& member) const;
  // `clonevm VERB` of it, which must succeed.
  void order(const std::string& verb) const;
  // `clonevm snapshot` of it.
  Result<Outcome> snapshot(const std::filesystem::path& directory,
                           const std::vector<std::string>& options) const;

 private:
  Result<UniqueFd> connect(std::chrono::steady_clock::time_point deadline) const;

  std::filesystem::path vsock_;
  std::filesystem::path api_;
  std::optional<std::uint32_t> vhost_cid_;
};

struct BootOptions {
  std::vector<std::string> arguments;  // more arguments of `clonevm run`
  std::string cmdline;                 // more kernel command line
  int cpus = 1;
  std::string memory = "256M";
  std::string program = {};  // another clonevm than the lab's
  bool entropy_log =
      false;  // every byte that clonevm draws is written to `entropy.log` in its folder
};

// `clonevm run` of the lab's guest.
class BootedVm {
 public:
  // Boots and waits until the guest says READY on its console.
  static std::unique_ptr<BootedVm> boot(const std::filesystem::path& folder, const BootOptions&);
  // Boots and waits until `marker` appears on the console.
  static std::unique_ptr<BootedVm> boot_until(const std::filesystem::path& folder,
                                              const BootOptions&, const std::string& marker);

  Guest guest() const;
  Process& process() { return process_; }
  std::string console() const;
  std::filesystem::path entropy_log() const { return folder_ / "entropy.log"; }

 private:
  BootedVm(std::filesystem::path folder, Process process)
      : folder_(std::move(folder)), process_(std::move(process)) {}
  std::filesystem::path folder_;
  Process process_;
};

// `clonevm restore`, still supervising its clones.
class Restored {
 public:
  static std::unique_ptr<Restored> restore(const std::filesystem::path& snapshot,
                                           const std::filesystem::path& run_dir, int count,
                                           const std::vector<std::string>& options = {},
                                           const std::filesystem::path& entropy_log = {});
  // The two halves of restore(), for what must happen side by side.
  struct Preloads {
    std::filesystem::path entropy_log;  // empty: none
    std::string realtime_ns;            // what the host's clock shows, for ever; empty: the time
  };
  static std::unique_ptr<Restored> start(const std::filesystem::path& snapshot,
                                         const std::filesystem::path& run_dir, int count,
                                         const std::vector<std::string>& options,
                                         const Preloads& preloads);
  // False, and a failure of the test, if not every clone comes to report.
  bool await_reports(int count);

  // `clonevm fork` of the machine behind the control socket.
  static std::unique_ptr<Restored> fork(const std::filesystem::path& api,
                                        const std::filesystem::path& run_dir, int count,
                                        const std::vector<std::string>& options = {});

  // One object for each clone, in order of the clone's number.
  const std::vector<boost::json::object>& reports() const { return reports_; }
  Guest guest(int clone) const;  // from 1
  Process& process() { return process_; }

 private:
  static std::unique_ptr<Restored> start_command(std::vector<std::string> arguments,
                                                 const std::filesystem::path& run_dir, int count,
                                                 const std::vector<std::string>& options,
                                                 const std::vector<std::string>& environment);
  Restored(std::filesystem::path run_dir, Process process)
      : run_dir_(std::move(run_dir)), process_(std::move(process)) {}
  std::filesystem::path run_dir_;
  Process process_;
  std::vector<boost::json::object> reports_;
};

// How long a guest may take to boot.
inline constexpr Seconds kBootTime{300};

std::string read_file(const std::filesystem::path& path);

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_LAB_VM_H_
