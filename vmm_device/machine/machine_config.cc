#include "vmm_device/machine/machine_config.h"

#include <algorithm>

#include "vmm_device/core/layout.h"
#include "vmm_device/core/state_codec.h"
#include "vmm_device/kvm/cpuid.h"
#include "vmm_device/net/tap.h"

namespace clonesafe {
namespace {

constexpr std::uint64_t kMinMemory = std::uint64_t{16} << 20;
constexpr std::uint64_t kMaxMemory = std::uint64_t{1} << 40;
constexpr std::uint32_t kMaxFeatures = 256;
constexpr std::uint32_t kMaxFeatureName = 64;
constexpr std::uint8_t kVmgenid = 1, kVmclock = 2, kRestorePage = 4, kSeed = 8;
// Set where it is off: a snapshot of a machine that has all keeps its bits.
constexpr std::uint8_t kNoRegisteredPage = 16;
constexpr std::uint32_t kMaxTapName = 15;
constexpr std::uint8_t kBalloonReporting = 1;

Status check(const NetConfig& net) {
  if (auto valid = network::check_interface_name(net.tap); !valid) return valid;
  return network::check(net.mac);
}

}  // namespace

Status check_serial(std::string_view serial) {
  const auto printable = [](char c) { return c > 0x20 && c < 0x7f; };
  if (serial.size() > kMaxSerial || !std::ranges::all_of(serial, printable))
    return fail("a disk's serial number is at most " + std::to_string(kMaxSerial) +
                " printable characters without spaces");
  return {};
}

Status check(const MachineConfig& config) {
  if (config.memory < kMinMemory || config.memory > kMaxMemory || config.memory % 4096 != 0)
    return fail("memory of " + std::to_string(config.memory) +
                " bytes: it must be 16M to 1024G, in whole pages");
  if (config.cpus < 1 || config.cpus > kMaxCpus)
    return fail(std::to_string(config.cpus) + " virtual CPUs: 1 to " + std::to_string(kMaxCpus) +
                " are possible");
  if (config.vsock_cid != 0 && (config.vsock_cid < 3 || config.vsock_cid == 0xffffffff))
    return fail("vsock cid " + std::to_string(config.vsock_cid) + ": a guest's is 3 or more");
  if (config.disks.size() > kMaxDisks)
    return fail(std::to_string(config.disks.size()) + " disks: at most " +
                std::to_string(kMaxDisks) + " are possible");
  for (const DiskConfig& disk : config.disks) {
    if (auto valid = check_serial(disk.serial); !valid) return valid;
  }
  if (config.nets.size() > kMaxNets)
    return fail(std::to_string(config.nets.size()) + " network devices: at most " +
                std::to_string(kMaxNets) + " are possible");
  for (const NetConfig& net : config.nets) {
    if (auto valid = check(net); !valid) return valid;
  }
  const std::size_t devices = (config.vsock_cid == 0 ? 0 : 1) + 1 + config.disks.size() +
                              config.nets.size() + (config.balloon ? 1 : 0);
  if (devices > layout::kVirtioMaxDevices)
    return fail(std::to_string(devices) + " virtio devices: at most " +
                std::to_string(layout::kVirtioMaxDevices) + " are possible");
  return kvm::check_feature_names(config.masked_features);
}

std::vector<std::byte> encode(const MachineConfig& config) {
  StateEncoder state;
  state.put(config.memory);
  state.put(config.cpus);
  state.put(config.vsock_cid);
  state.put(static_cast<std::uint8_t>(
      (config.generation.vmgenid ? kVmgenid : 0) | (config.generation.vmclock ? kVmclock : 0) |
      (config.generation.restore_page ? kRestorePage : 0) | (config.generation.seed ? kSeed : 0) |
      (config.generation.registered_page ? 0 : kNoRegisteredPage)));
  state.put(static_cast<std::uint32_t>(config.masked_features.size()));
  for (const std::string& name : config.masked_features)
    state.put_bytes(std::as_bytes(std::span(name)));
  return state.take();
}

Result<MachineConfig> decode_machine_config(std::span<const std::byte> bytes) {
  StateDecoder state("machine config", bytes);
  const auto memory = state.get<std::uint64_t>();
  if (!memory) return fail(memory.error());
  const auto cpus = state.get<std::uint32_t>();
  if (!cpus) return fail(cpus.error());
  const auto cid = state.get<std::uint32_t>();
  if (!cid) return fail(cid.error());
  const auto devices = state.get<std::uint8_t>();
  if (!devices) return fail(devices.error());
  if ((*devices & ~(kVmgenid | kVmclock | kRestorePage | kSeed | kNoRegisteredPage)) != 0)
    return state.corrupt("unknown devices");
  const auto count = state.get<std::uint32_t>();
  if (!count) return fail(count.error());
  if (*count > kMaxFeatures) return state.corrupt(std::to_string(*count) + " masked CPU features");
  MachineConfig config{.memory = *memory,
                       .cpus = *cpus,
                       .masked_features = {},
                       .cpu_template = "host",
                       .generation = {.vmgenid = (*devices & kVmgenid) != 0,
                                      .vmclock = (*devices & kVmclock) != 0,
                                      .restore_page = (*devices & kRestorePage) != 0,
                                      .seed = (*devices & kSeed) != 0,
                                      .registered_page = (*devices & kNoRegisteredPage) == 0},
                       .vsock_cid = *cid};
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto name = state.get_bytes(kMaxFeatureName);
    if (!name) return fail(name.error());
    config.masked_features.emplace_back(reinterpret_cast<const char*>(name->data()), name->size());
  }
  if (auto done = state.finish(); !done) return fail(done.error());
  // Feature names are printed when they are unknown: foreign bytes must not reach a terminal.
  for (const std::string& name : config.masked_features) {
    if (!kvm::check_feature_names({&name, 1}))
      return fail("machine config: unknown masked CPU feature");
  }
  if (auto valid = check(config); !valid) return fail(valid.error(), "machine config");
  return config;
}

std::vector<std::byte> encode(std::span<const NetConfig> nets) {
  StateEncoder state;
  state.put(static_cast<std::uint32_t>(nets.size()));
  for (const NetConfig& net : nets) {
    state.put_bytes(std::as_bytes(std::span(net.tap)));
    for (const std::uint8_t byte : net.mac.bytes) state.put(byte);
  }
  return state.take();
}

Result<std::vector<NetConfig>> decode_nets(std::span<const std::byte> bytes) {
  StateDecoder state("network devices", bytes);
  const auto count = state.get<std::uint32_t>();
  if (!count) return fail(count.error());
  if (*count == 0 || *count > kMaxNets)
    return state.corrupt(std::to_string(*count) + " network devices");
  std::vector<NetConfig> nets(*count);
  for (NetConfig& net : nets) {
    const auto tap = state.get_bytes(kMaxTapName);
    if (!tap) return fail(tap.error());
    net.tap.assign(reinterpret_cast<const char*>(tap->data()), tap->size());
    for (std::uint8_t& byte : net.mac.bytes) {
      const auto read = state.get<std::uint8_t>();
      if (!read) return fail(read.error());
      byte = *read;
    }
    // Not the name itself: foreign bytes must not reach a terminal.
    if (!network::check_interface_name(net.tap)) return state.corrupt("no interface's name");
    if (auto valid = check(net); !valid) return state.corrupt(valid.error().message());
  }
  if (auto done = state.finish(); !done) return fail(done.error());
  return nets;
}

std::vector<std::byte> encode(const BalloonConfig& balloon) {
  StateEncoder state;
  state.put(static_cast<std::uint8_t>(balloon.reporting ? kBalloonReporting : 0));
  return state.take();
}

Result<BalloonConfig> decode_balloon(std::span<const std::byte> bytes) {
  StateDecoder state("balloon", bytes);
  const auto flags = state.get<std::uint8_t>();
  if (!flags) return fail(flags.error());
  if ((*flags & ~kBalloonReporting) != 0) return state.corrupt("unknown flags");
  if (auto done = state.finish(); !done) return fail(done.error());
  return BalloonConfig{.reporting = (*flags & kBalloonReporting) != 0};
}

}  // namespace clonesafe
