// How a machine is saved, restored, paused and resumed.
#include "vmm_device/core/layout.h"
#include "vmm_device/core/state_codec.h"
#include "vmm_device/kvm/cpuid.h"
#include "vmm_device/kvm/guest_time.h"
#include "vmm_device/kvm/vm_state.h"
#include "vmm_device/machine/disk_record.h"
#include "vmm_device/machine/machine.h"
#include "vmm_device/machine/saved_section.h"

namespace clonesafe {
namespace {

using snapshot::Section;
using snapshot::Tag;

// The processor the snapshot was taken on, for people; what counts is each vCPU's CPUID.
std::vector<std::byte> encode_identity(const kvm::CpuidTable& cpuid) {
  const std::string brand = kvm::cpu_brand(cpuid);
  StateEncoder state;
  state.put_bytes(std::as_bytes(std::span(brand)));
  state.put(static_cast<std::uint32_t>(cpuid.size()));
  for (const kvm_cpuid_entry2& entry : cpuid) state.put_struct(entry);
  return state.take();
}

// Version 2 of a vCPU's section: its TSC is as of the instant of the section "clock". Version 1: as
// of when its MSRs were read.
constexpr std::uint16_t kVcpuVersion = 2;
constexpr std::uint16_t kVcpuVersionWithoutInstant = 1;

// The memory's regions must be those that this machine has: RAM in address order, packed.
Status check_memory_map(const snapshot::Snapshot& snapshot, const GuestMemory& memory) {
  const auto& map = snapshot.memory_map();
  bool same = map.size() == memory.regions().size();
  std::uint64_t offset = 0;
  for (std::size_t i = 0; same && i < map.size(); ++i) {
    const GuestMemory::Region& region = memory.regions()[i];
    same = map[i].start == region.start && map[i].size == region.bytes.size() &&
           map[i].offset == offset;
    offset += region.bytes.size();
  }
  if (!same)
    return fail("memory map: not the regions of a machine with " +
                std::to_string(memory.total_size() >> 20) + " MiB");
  return {};
}

Result<std::vector<kvm::VcpuState>> decode_vcpus(const snapshot::Snapshot& snapshot,
                                                 std::uint32_t cpus) {
  if (snapshot.count(Tag::vcpu) != cpus)
    return fail("state of " + std::to_string(snapshot.count(Tag::vcpu)) +
                " vCPUs, the machine has " + std::to_string(cpus));
  std::vector<kvm::VcpuState> states;
  for (std::uint32_t index = 0; index < cpus; ++index) {
    auto bytes = section_bytes(snapshot, Tag::vcpu, index, kVcpuVersion);
    if (!bytes) return fail(bytes.error());
    StateDecoder decoder("vcpu " + std::to_string(index), *bytes);
    auto state = kvm::decode_vcpu(decoder);
    if (!state) return fail(state.error());
    states.push_back(std::move(*state));
  }
  return states;
}

}  // namespace

void Machine::pause() {
  // vCPUs first: after that nothing new comes to the devices.
  threads_->pause();
  if (!devices_paused_) {
    for (const auto& transport : virtio_) transport->pause();
  }
  devices_paused_ = true;
}

Status Machine::resume() {
  for (const kvm::Vcpu& vcpu : vcpus_) {
    if (auto told = kvm::announce_pause(vcpu); !told) return told;
  }
  if (devices_paused_) {
    for (const auto& transport : virtio_) transport->resume();
  }
  devices_paused_ = false;
  threads_->resume();
  return {};
}

Result<std::vector<Section>> Machine::save() const {
  std::vector<Section> sections;
  const auto add = [&](Tag tag, std::vector<std::byte> bytes, std::uint16_t version = 1) {
    sections.push_back({.tag = tag, .version = version, .bytes = std::move(bytes)});
  };
  add(Tag::machine_config, encode(config_));
  add(Tag::cpu_identity, encode_identity(cpuid_.front()));

  const std::size_t xsave_size = vm_->xsave_size();
  std::vector<kvm::VcpuState> states;
  for (std::size_t index = 0; index < vcpus_.size(); ++index) {
    auto state = kvm::save_vcpu(vcpus_[index], cpuid_[index], msr_indexes_, xsave_size);
    if (!state) return fail(state.error());
    states.push_back(std::move(*state));
  }
  const auto time = kvm::read_time(*vm_, vcpus_);
  if (!time) return fail(time.error());
  for (std::size_t index = 0; index < states.size(); ++index) {
    const bool instant = !time->tsc.empty();
    kvm::settle_time(states[index], instant ? std::optional(time->tsc[index]) : std::nullopt);
    StateEncoder encoder;
    kvm::encode(encoder, states[index]);
    add(Tag::vcpu, encoder.take(), instant ? kVcpuVersion : kVcpuVersionWithoutInstant);
  }
  auto controllers = kvm::save_interrupt_controllers(*vm_);
  if (!controllers) return fail(controllers.error());
  add(Tag::irqchip, std::move(*controllers));
  add(Tag::clock, kvm::encode_clock(*time));

  add(Tag::serial, serial_->save());
  StateEncoder generation;
  generation_->save(generation);
  add(Tag::generation, generation.take());
  if (secrets_->count() != 0) {
    StateEncoder secrets;
    secrets_->save(secrets);
    add(Tag::secret_pages, secrets.take());
  }
  for (const auto& disk : disks_) {
    auto record = record_of(disk->disk(), disk->serial());
    if (!record) return fail(record.error(), disk->name());
    add(Tag::disk, encode(*record));
  }
  if (!config_.nets.empty()) add(Tag::network_devices, encode(std::span(config_.nets)));
  if (config_.balloon) add(Tag::balloon, encode(*config_.balloon));
  for (const auto& transport : virtio_) {
    StateEncoder device;
    transport->save(device);
    add(Tag::virtio_device, device.take());
  }
  return sections;
}

Status Machine::flush_disks() {
  for (const auto& disk : disks_) {
    if (auto flushed = disk->flush(); !flushed) return fail(flushed.error(), disk->name());
  }
  return {};
}

std::vector<snapshot::FileToWrite> Machine::disk_files() const {
  std::vector<snapshot::FileToWrite> files;
  for (std::size_t index = 0; index < disks_.size(); ++index) {
    const block::Disk& disk = disks_[index]->disk();
    if (disk.layers().empty()) continue;
    const std::string name = disk_layer_file(index);
    files.push_back({.name = name, .write = [&disk, name](UniqueFd to) -> Status {
                       auto base = disk.base();
                       if (!base) return fail(base.error());
                       auto flat = disk.flatten(std::move(to), name, *base);
                       if (!flat) return fail(flat.error());
                       return {};
                     }});
  }
  return files;
}

Result<MachineConfig> saved_config(const snapshot::Snapshot& snapshot) {
  auto bytes = section_bytes(snapshot, Tag::machine_config);
  if (!bytes) return fail(bytes.error());
  auto config = decode_machine_config(*bytes);
  if (!config) return fail(config.error());
  auto disks = decode_disk_records(snapshot);
  if (!disks) return fail(disks.error());
  for (const DiskRecord& disk : *disks) config->disks.push_back({.serial = disk.serial});
  auto nets = saved_nets(snapshot);
  if (!nets) return fail(nets.error());
  config->nets = std::move(*nets);
  auto balloon = saved_balloon(snapshot);
  if (!balloon) return fail(balloon.error());
  config->balloon = *balloon;
  if (auto valid = check(*config); !valid) return fail(valid.error(), "the snapshot's machine");
  return config;
}

Result<const PageSet*> Machine::dirty_pages() {
  // KVM forgets what it has told; it stays in the set until a snapshot has it for good.
  std::uint64_t first_page = 0;
  std::uint32_t slot = 0;
  for (const GuestMemory::Region& region : ram_->memory().regions()) {
    auto log = vm_->dirty_log(slot++, region.bytes.size());
    if (!log) return fail(log.error());
    ram_->written()->insert_bitmap(first_page, *log);
    first_page += region.bytes.size() / PageSet::kPageSize;
  }
  return ram_->written();
}

Status Machine::announce_resume() {
  SystemEntropy entropy;
  if (auto written = generation_->write_resume(entropy); !written) return written;
  vmclock_line_->raise();
  return {};
}

Result<std::unique_ptr<Machine>> Machine::restore(const RestoreSource& source, MachineHooks hooks,
                                                  boost::asio::io_context& device_thread) {
  auto config = saved_config(source.snapshot);
  if (!config) return fail(config.error());
  auto states = decode_vcpus(source.snapshot, config->cpus);
  if (!states) return fail(states.error());

  auto kvm = kvm::Kvm::open();
  if (!kvm) return fail(kvm.error());
  auto supported = kvm->supported_cpuid();
  if (!supported) return fail(supported.error());
  std::vector<kvm::CpuidTable> cpuid;
  for (const kvm::VcpuState& state : *states) {
    if (auto fits = kvm::check_compatible(state.cpuid, *supported); !fits)
      return fail(fits.error());
    cpuid.push_back(state.cpuid);
  }

  auto ram = GuestRam::map_snapshot(source.memory_fd, config->memory, hooks.track_dirty);
  if (!ram) return fail(ram.error());
  if (auto same = check_memory_map(source.snapshot, ram->memory()); !same)
    return fail(same.error());
  std::unique_ptr<Machine> machine(new Machine(*config));
  machine->restored_ = true;
  machine->clone_ = source.kind == RestoreKind::kClone;
  machine->ram_ = std::move(*ram);
  if (auto made = machine->create_vm(*kvm, std::move(cpuid)); !made) return fail(made.error());
  if (auto made = machine->create_devices(std::move(hooks), device_thread); !made)
    return fail(made.error());

  // Clocks before the deadline timers, which are measured in them. Local APICs, then the IOAPIC,
  // which delivers to them what was pending, then the devices, which raise their lines again.
  auto tsc_is_set = machine->restore_time(source.snapshot, *states);
  if (!tsc_is_set) return fail(tsc_is_set.error());
  if (auto set = machine->restore_vcpus(*states, *tsc_is_set); !set) return fail(set.error());
  if (auto set = machine->restore_devices(source.snapshot); !set) return fail(set.error());

  // Whoever maps these pages sees the restore at the guest's first instruction; the interrupts only
  // wake slow work.
  SystemEntropy entropy;
  auto tsc = machine->read_tsc();
  if (!tsc) return fail(tsc.error());
  auto written = machine->generation_->write_restore(entropy, source.kind, source.metadata, *tsc);
  if (!written) return fail(written.error());
  if (source.kind == RestoreKind::kClone) machine->vmgenid_line_->raise();
  machine->vmclock_line_->raise();
  return machine;
}

Result<bool> Machine::restore_time(const snapshot::Snapshot& snapshot,
                                   const std::vector<kvm::VcpuState>& states) {
  kvm::GuestTime time;
  bool instant = true;
  const bool can_scale = vm_->extension(KVM_CAP_TSC_CONTROL) > 0;
  for (std::size_t index = 0; index < vcpus_.size(); ++index) {
    auto host_khz = vcpus_[index].tsc_khz();
    if (!host_khz) return fail(host_khz.error());
    const std::uint32_t khz = states[index].tsc_khz;
    if (auto fits = kvm::check_tsc_frequency(khz, *host_khz, can_scale); !fits)
      return fail(fits.error());
    if (khz != *host_khz) {
      if (auto set = vcpus_[index].set_tsc_khz(khz); !set) return fail(set.error());
    }
    auto section = known_section(snapshot, Tag::vcpu, index, kVcpuVersion);
    if (!section) return fail(section.error());
    const auto tsc = kvm::saved_tsc(states[index]);
    instant = instant && section->version == kVcpuVersion && tsc && khz == states.front().tsc_khz;
    time.tsc.push_back(tsc.value_or(0));
  }
  if (!instant) time.tsc.clear();
  auto bytes = section_bytes(snapshot, Tag::clock);
  if (!bytes) return fail(bytes.error());
  auto clock = kvm::decode_clock(*bytes);
  if (!clock) return fail(clock.error());
  time.clock_ns = *clock;
  return kvm::set_time(*vm_, vcpus_, time);
}

Status Machine::restore_vcpus(const std::vector<kvm::VcpuState>& states, bool tsc_is_set) {
  const std::size_t xsave_size = vm_->xsave_size();
  for (std::size_t index = 0; index < vcpus_.size(); ++index) {
    auto set = kvm::restore_vcpu(vcpus_[index], states[index], xsave_size, tsc_is_set);
    if (!set) return fail(set.error(), "the snapshot's state");
  }
  return {};
}

Status Machine::restore_devices(const snapshot::Snapshot& snapshot) {
  auto bytes = section_bytes(snapshot, Tag::irqchip);
  if (!bytes) return fail(bytes.error());
  if (auto set = kvm::restore_interrupt_controllers(*vm_, *bytes); !set) return set;

  bytes = section_bytes(snapshot, Tag::serial);
  if (!bytes) return fail(bytes.error());
  if (auto set = serial_->restore(*bytes); !set) return set;

  if (snapshot.count(Tag::virtio_device) != virtio_.size())
    return fail("state of " + std::to_string(snapshot.count(Tag::virtio_device)) +
                " virtio devices, the machine has " + std::to_string(virtio_.size()));
  devices_paused_ = true;
  for (std::size_t slot = 0; slot < virtio_.size(); ++slot) {
    bytes = section_bytes(snapshot, Tag::virtio_device, slot);
    if (!bytes) return fail(bytes.error());
    StateDecoder decoder("virtio device " + std::to_string(slot), *bytes);
    if (auto set = virtio_[slot]->restore(decoder); !set) return set;
    if (auto done = decoder.finish(); !done) return done;
  }

  bytes = section_bytes(snapshot, Tag::generation);
  if (!bytes) return fail(bytes.error());
  StateDecoder decoder("generation devices", *bytes);
  if (auto set = generation_->restore(decoder); !set) return set;
  if (generation_->options() != config_.generation)
    return fail("generation devices: not those of the machine config");
  return restore_secrets(snapshot);
}

Status Machine::restore_secrets(const snapshot::Snapshot& snapshot) {
  if (snapshot.count(Tag::secret_pages) == 0) return {};
  auto bytes = section_bytes(snapshot, Tag::secret_pages);
  if (!bytes) return fail(bytes.error());
  StateDecoder decoder("secret pages", *bytes);
  return secrets_->restore(decoder);
}

}  // namespace clonesafe
