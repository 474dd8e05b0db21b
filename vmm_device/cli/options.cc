#include "vmm_device/cli/options.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>
#include <cstdio>
#include <limits>

#include "clonesafe/abi/host_protocol.h"
#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/core/clone_number.h"
#include "vmm_device/machine/machine_config.h"
#include "vmm_device/net/tap.h"

namespace clonesafe::cli {

Result<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto unit = text.substr(static_cast<std::size_t>(end - text.data()));
  unsigned shift = 0;
  if (unit == "K") shift = 10;
  if (unit == "M") shift = 20;
  if (unit == "G") shift = 30;
  if (error != std::errc() || shift == 0 || number == 0 ||
      number > std::numeric_limits<std::uint64_t>::max() >> shift)
    return fail("'" + std::string(text) + "' is not a size such as 256M or 2G");
  return number << shift;
}

Result<VsockArgument> parse_vsock(std::string_view text) {
  constexpr std::uint32_t kFirstGuestCid = 3;  // 0 to 2 are the hypervisor, loopback and the host
  VsockArgument result;
  const auto bad = [&](const std::string& why) {
    return fail("'" + std::string(text) + "': " + why + ", expected cid=N,path=SOCKET");
  };
  for (std::string_view rest = text; !rest.empty();) {
    // A path may hold commas: it takes all that is left.
    const bool is_path = rest.starts_with("path=");
    const std::string_view part = is_path ? rest : rest.substr(0, rest.find(','));
    rest.remove_prefix(part.size() == rest.size() ? part.size() : part.size() + 1);
    if (is_path) {
      result.path = part.substr(5);
    } else if (part.starts_with("cid=")) {
      const std::string_view number = part.substr(4);
      const auto [end, error] =
          std::from_chars(number.data(), number.data() + number.size(), result.cid);
      if (error != std::errc() || end != number.data() + number.size())
        return bad("no number after cid=");
    } else {
      return bad("unknown part '" + std::string(part) + "'");
    }
  }
  if (result.cid < kFirstGuestCid || result.cid == std::numeric_limits<std::uint32_t>::max())
    return bad("a guest's cid is 3 or more");
  if (result.path.empty()) return bad("no path");
  return result;
}

Result<DiskArgument> parse_disk(std::string_view text) {
  DiskArgument disk;
  const auto bad = [&](const std::string& why) {
    return fail("'" + std::string(text) + "': " + why +
                ", expected FILE[,ro][,layer=FILE|temporary][,serial=TEXT]");
  };
  const std::string_view image = text.substr(0, text.find(','));
  if (image.empty()) return bad("no image");
  disk.image = image;
  for (const std::string& part : split_list(text.substr(image.size()))) {
    if (part == "ro") {
      disk.read_only = true;
    } else if (part == "layer=temporary") {
      disk.layer = DiskArgument::Layer::kTemporary;
    } else if (part.starts_with("layer=")) {
      disk.layer = DiskArgument::Layer::kFile;
      disk.layer_file = part.substr(6);
      if (disk.layer_file.empty()) return bad("no file after layer=");
    } else if (part.starts_with("serial=")) {
      disk.serial = part.substr(7);
      if (auto valid = check_serial(disk.serial); !valid) return bad(valid.error().message());
    } else {
      return bad("unknown part '" + part + "'");
    }
  }
  if (disk.read_only && disk.layer != DiskArgument::Layer::kNone)
    return bad("a disk that is only read needs no layer");
  return disk;
}

namespace {

Result<NetArgument> parse_net(std::string_view text, bool for_clones) {
  NetArgument net;
  const auto bad = [&](const std::string& why) {
    return fail("'" + std::string(text) + "': " + why + ", expected tap=NAME[,mac=ADDRESS" +
                (for_clones ? "|keep" : "") + "][,netns=NAME]");
  };
  const auto number = for_clones ? "1" : "%d";
  for (const std::string& part : split_list(text)) {
    if (part.starts_with("tap=")) {
      net.tap = part.substr(4);
    } else if (part.starts_with("netns=")) {
      net.network_namespace = part.substr(6);
      // The same letters, and as a file's name no longer than Linux has them.
      if (!network::check_interface_name(
              with_clone_number(net.network_namespace.substr(0, 15), number)))
        return bad("'" + net.network_namespace + "' is not the name of a network namespace");
    } else if (part == "mac=keep" && for_clones) {
      net.mac = NetArgument::Mac::kKeep;
    } else if (part.starts_with("mac=")) {
      const auto mac = network::parse_mac(std::string_view(part).substr(4));
      if (!mac) return bad(mac.error().message());
      net.mac = NetArgument::Mac::kGiven;
      net.address = *mac;
    } else {
      return bad("unknown part '" + part + "'");
    }
  }
  if (auto valid = network::check_interface_name(with_clone_number(net.tap, number)); !valid)
    return bad(valid.error().message());
  return net;
}

}  // namespace

Result<NetArgument> parse_net(std::string_view text) {
  return parse_net(text, false);
}
Result<NetArgument> parse_clones_net(std::string_view text) {
  return parse_net(text, true);
}

NetArgument of_clone(NetArgument net, std::uint32_t clone) {
  net.tap = with_clone_number(std::move(net.tap), std::to_string(clone));
  net.network_namespace =
      with_clone_number(std::move(net.network_namespace), std::to_string(clone));
  return net;
}

Result<std::optional<std::chrono::milliseconds>> parse_hold_limit(std::string_view text) {
  if (text == "forever") return std::nullopt;
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || !(seconds >= 0.001) ||
      seconds > 1e6)
    return fail("'" + std::string(text) + "' is neither forever nor 0.001 to 1000000 seconds");
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

Result<std::set<std::uint32_t>> parse_numbers(std::string_view text) {
  std::set<std::uint32_t> numbers;
  for (const std::string& part : split_list(text)) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    if (error != std::errc() || end != part.data() + part.size())
      return fail("'" + part + "' is no number from 0 to 4294967295");
    numbers.insert(number);
  }
  if (numbers.empty()) return fail("'" + std::string(text) + "' has no number");
  return numbers;
}

Status check_hold(const Hold& hold, const HoldableMachine& machine) {
  if (!hold.anything()) {
    if (hold.limit) return fail("--hold-limit: nothing is held");
    return {};
  }
  if (hold.network && !machine.has_network)
    return fail("--hold-network: the machine has no network device");
  if (!hold.vsock_ports.empty() && !machine.has_vsock)
    return fail("--hold-vsock: the machine has no vsock device");
  if (hold.vsock_ports.contains(CLONESAFE_HOST_VSOCK_PORT))
    return fail("--hold-vsock: port " + std::to_string(CLONESAFE_HOST_VSOCK_PORT) +
                " is the agent's, whose report ends the hold");
  if (!hold.disks.empty() && *hold.disks.rbegin() >= machine.disks)
    return fail("--hold-disk: there is no disk " + std::to_string(*hold.disks.rbegin()) +
                ", the machine has " + std::to_string(machine.disks) + " (from 0)");
  if (!machine.has_vsock && !hold.limit)
    return fail(
        "a hold without vsock has no end: no agent can report that the guest is safe "
        "(--hold-limit)");
  return {};
}

Result<BalloonConfig> parse_balloon(std::string_view text) {
  if (text == "true") return BalloonConfig{};  // no value
  if (text == "reporting") return BalloonConfig{.reporting = true};
  return fail("'" + std::string(text) + "' is not reporting");
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto part = text.substr(0, text.find(','));
    if (!part.empty()) parts.emplace_back(part);
    text.remove_prefix(part.size() == text.size() ? part.size() : part.size() + 1);
  }
  return parts;
}

Result<std::vector<std::byte>> read_file(const std::filesystem::path& path, std::uint64_t limit) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(path.string());
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno(path.string());
  if (!S_ISREG(status.st_mode)) return fail(path.string() + ": not a regular file");
  if (static_cast<std::uint64_t>(status.st_size) > limit)
    return fail(path.string() + ": " + std::to_string(status.st_size) + " bytes, the limit is " +
                std::to_string(limit));
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(path.string());
    if (got == 0) return fail(path.string() + ": became shorter while it was read");
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

int report(const Error& error) {
  std::fprintf(stderr, "clonevm: %s\n", error.message().c_str());
  return kExitFailed;
}

}  // namespace clonesafe::cli
