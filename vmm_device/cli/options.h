#ifndef CLONESAFE_VMM_DEVICE_CLI_OPTIONS_H_
#define CLONESAFE_VMM_DEVICE_CLI_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/machine/hold.h"
#include "vmm_device/machine/machine_config.h"
#include "vmm_device/net/mac_address.h"

namespace clonesafe::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitReset = 3;  // `run`: the guest reset itself instead of powering off

// "256M": a number with K, M or G, in powers of 1024.
Result<std::uint64_t> parse_size(std::string_view text);

struct VsockArgument {
  std::uint32_t cid = 0;
  std::filesystem::path path;
};
// "cid=3,path=/run/vm.sock"
Result<VsockArgument> parse_vsock(std::string_view text);

struct DiskArgument {
  enum class Layer { kNone, kTemporary, kFile };
  std::filesystem::path image;
  bool read_only = false;
  Layer layer = Layer::kNone;
  std::filesystem::path layer_file;
  std::string serial;
};
// "disk.img,ro", "disk.img,layer=changes.layer,serial=root", "disk.img,layer=temporary"; no comma
// in a path.
Result<DiskArgument> parse_disk(std::string_view text);

struct NetArgument {
  enum class Mac { kNew, kKeep, kGiven };
  std::string tap;
  std::string network_namespace;  // empty: the process's own
  Mac mac = Mac::kNew;
  network::MacAddress address;  // if it is given
};
// "tap=vm0", "tap=vm0,mac=52:54:00:12:34:56,netns=guests". For clones also "tap=vm%d,netns=cs%d"
// and "mac=keep".
Result<NetArgument> parse_net(std::string_view text);
Result<NetArgument> parse_clones_net(std::string_view text);

// With the clone's number, from 1, for each "%d".
NetArgument of_clone(NetArgument net, std::uint32_t clone);

// Of a hold: "forever", or seconds.
Result<std::optional<std::chrono::milliseconds>> parse_hold_limit(std::string_view text);
// "1234,5000": at least one number.
Result<std::set<std::uint32_t>> parse_numbers(std::string_view text);

// That there is what shall be held, and somebody who ends it.
struct HoldableMachine {
  bool has_network = false;
  bool has_vsock = false;
  std::size_t disks = 0;
};
Status check_hold(const Hold& hold, const HoldableMachine& machine);

// The value of --balloon: none, or "reporting".
Result<BalloonConfig> parse_balloon(std::string_view text);

// "rdrand,rdseed" to its parts, without empty ones.
std::vector<std::string> split_list(std::string_view text);

// The whole of a file, at most `limit` bytes of it.
Result<std::vector<std::byte>> read_file(const std::filesystem::path& path, std::uint64_t limit);

// Prints "clonevm: ..." and returns kExitFailed.
int report(const Error& error);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_OPTIONS_H_
