#ifndef CLONESAFE_VMM_DEVICE_CLI_SNAPSHOT_COMMAND_H_
#define CLONESAFE_VMM_DEVICE_CLI_SNAPSHOT_COMMAND_H_

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

namespace clonesafe::cli {

struct SnapshotOptions {
  std::filesystem::path api;
  std::filesystem::path out;
  std::filesystem::path diff;  // the last snapshot, for an incremental one; empty: a whole one
  std::filesystem::path key;   // file; empty: no MAC
  std::string prepare = "none";
  bool stop = false;    // end the machine after it
  bool resume = false;  // let it go on, which it also does if neither is asked for
  bool json = false;
};

// `clonevm snapshot`: asks the machine behind a control socket for one. Returns the exit code.
int snapshot_command(const SnapshotOptions& options);

// `clonevm stop --api SOCK`: kills the machine's process if it doesn't end in time.
int stop_command(const std::filesystem::path& api, std::chrono::milliseconds patience);

// `clonevm pause|resume|status|metrics --api SOCK`.
int simple_call_command(const std::filesystem::path& api, const std::string& call);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_SNAPSHOT_COMMAND_H_
