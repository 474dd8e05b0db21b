#include "vmm_device/snapshot/sections.h"

namespace clonesafe::snapshot {

namespace {

constexpr TagInfo kTags[] = {
    {Tag::machine_config, "machine config", 1},
    {Tag::memory_map, "memory map", 1},
    {Tag::chunk_digests, "chunk digests", 1},
    {Tag::cpu_identity, "CPU identity", 1},
    {Tag::vcpu, "vCPU", 256},
    {Tag::irqchip, "interrupt controllers", 1},
    {Tag::clock, "clock", 1},
    {Tag::serial, "serial port", 1},
    {Tag::generation, "generation devices", 1},
    {Tag::virtio_device, "virtio device", 32},
    {Tag::agent_channel, "agent channel", 1},
    {Tag::layer, "layer", 1},
    {Tag::secret_pages, "secret pages", 1},
    {Tag::disk, "disk", 8},
    {Tag::attached_file, "attached file", 8},
    {Tag::network_devices, "network devices", 1},
    {Tag::balloon, "balloon", 1},
};

}  // namespace

std::optional<TagInfo> tag_info(std::uint32_t tag) {
  for (const TagInfo& info : kTags)
    if (static_cast<std::uint32_t>(info.tag) == tag) return info;
  return std::nullopt;
}

}  // namespace clonesafe::snapshot
