// machine: one virtual machine: its memory, vCPUs and devices, and how it boots, runs, stops, is
// saved and comes back.
//
// Threads: one thread owns a Machine and makes all its calls. Each vCPU has a thread of its own;
// devices that use queues work on the io_context's thread.
#ifndef CLONESAFE_VMM_DEVICE_MACHINE_MACHINE_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_MACHINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/generation/generation_devices.h"
#include "vmm_device/generation/secret_pages.h"
#include "vmm_device/kvm/kvm.h"
#include "vmm_device/kvm/vcpu_state.h"
#include "vmm_device/machine/boot.h"
#include "vmm_device/machine/bus.h"
#include "vmm_device/machine/guest_ram.h"
#include "vmm_device/machine/hold.h"
#include "vmm_device/machine/machine_config.h"
#include "vmm_device/machine/power.h"
#include "vmm_device/machine/serial.h"
#include "vmm_device/machine/vcpu_threads.h"
#include "vmm_device/snapshot/snapshot.h"
#include "vmm_device/virtio/balloon_device.h"
#include "vmm_device/virtio/block_device.h"
#include "vmm_device/virtio/mmio_transport.h"
#include "vmm_device/virtio/net_device.h"
#include "vmm_device/virtio/rng_device.h"
#include "vmm_device/virtio/vsock_device.h"

namespace clonesafe {

// What this process gives it.
struct MachineHooks {
  Serial::Output serial_output;
  std::string vsock_path;          // the host end's Unix socket; empty: none
  std::vector<block::Disk> disks;  // of the configuration's disks, in their order
  // Called on each disk's thread, named by it, before it does anything; an error is start()'s.
  std::function<Status(const std::string& disk)> disk_thread_started;
  std::vector<network::Tap> taps;  // of the configuration's network devices, in their order
  // Of these devices in a machine that is restored: another address than the snapshot's.
  std::vector<std::optional<network::MacAddress>> macs;
  Hold hold;  // from the first instruction until release()
  VcpuThreads::Hooks vcpus;
  bool track_dirty = false;  // what is written to RAM, for incremental snapshots
};

// What a machine is restored from.
struct RestoreSource {
  const snapshot::Snapshot& snapshot;
  int memory_fd;  // its memory, sealed: mapped, never copied
  RestoreKind kind = RestoreKind::kClone;
  // For the restore page. A Session also takes a larger one, which the agent gets by vsock.
  std::span<const std::byte> metadata;
};

// What the machine that a snapshot is of consists of.
Result<MachineConfig> saved_config(const snapshot::Snapshot& snapshot);

class Machine {
 public:
  // All of the machine but its state. The vCPUs don't run yet. `device_thread` is run by one thread
  // and outlives the machine.
  static Result<std::unique_ptr<Machine>> create(const MachineConfig& config, MachineHooks hooks,
                                                 boost::asio::io_context& device_thread);

  // A machine in the state of a snapshot, told that it was restored: new generation, ids and seed
  // are in its pages, and the notifications are pending, before its first instruction. In the
  // process that runs it: after any fork.
  static Result<std::unique_ptr<Machine>> restore(const RestoreSource& source, MachineHooks hooks,
                                                  boost::asio::io_context& device_thread);

  // Loads a kernel; the ACPI tables are the machine's own.
  Status boot(std::span<const std::byte> kernel, std::span<const std::byte> initrd,
              const std::string& command_line);

  // Nobody is given a machine that lacks a part.
  // NOLINTBEGIN(bugprone-unchecked-optional-access)

  ~Machine();

  // Starts the threads of vCPUs, parked, and of disks; then resume() lets them run.
  Status start();
  Status resume();
  // When it returns neither a vCPU nor a device touches the machine's state.
  void pause();
  // For ever. What was written to disks is on the host's disk.
  void stop();

  // The machine's state, all but the contents of RAM. While it is paused.
  Result<std::vector<snapshot::Section>> save() const;
  // Puts what was written to disks on the host's disk. While it is paused.
  Status flush_disks();
  // What goes with the state: for each disk with layers, one with all that they hold. While it is
  // paused, until they are written.
  std::vector<snapshot::FileToWrite> disk_files() const;
  // Whether the pages of RAM that are written are known.
  bool tracks_dirty() const { return ram_->written() != nullptr; }
  // The pages that were written since forget_dirty(), or since the machine was made. While it is
  // paused; tracks_dirty() must hold.
  Result<const PageSet*> dirty_pages();
  void forget_dirty() { ram_->written()->clear(); }
  // The source is about to go on after its snapshot: gives it a new reseed epoch and seed, and
  // tells it. While it is paused.
  Status announce_resume();

  // Whether the guest powered off, reset or failed.
  bool ended() const { return threads_->ended(); }
  ExitCounts exits() const { return threads_->exits(); }

  // RAM, without the generation pages.
  const GuestMemory& memory() const { return ram_->memory(); }
  Serial& serial() { return *serial_; }
  GenerationDevices& generation() { return *generation_; }
  SecretPages& secrets() { return *secrets_; }
  virtio::VsockDevice* vsock() { return vsock_.get(); }
  // In the order of the configuration.
  const std::vector<std::unique_ptr<virtio::BlockDevice>>& disks() const { return disks_; }
  const std::vector<std::unique_ptr<virtio::NetDevice>>& nets() const { return nets_; }
  virtio::BalloonDevice* balloon() { return balloon_.get(); }
  const virtio::BalloonDevice* balloon() const { return balloon_.get(); }
  // Ends the hold: what was kept goes on, in its order. On the device thread.
  void release();
  const MachineConfig& config() const { return config_; }
  // NOLINTEND(bugprone-unchecked-optional-access)

 private:
  explicit Machine(const MachineConfig& config) : config_(config) {}
  // One CPUID table a vCPU.
  Status create_vm(const kvm::Kvm& kvm, std::vector<kvm::CpuidTable> cpuid);
  Status create_devices(MachineHooks hooks, boost::asio::io_context& device_thread);
  Status create_virtio(MachineHooks& hooks, boost::asio::io_context& device_thread);
  void create_balloon();
  Status create_nets(MachineHooks& hooks, boost::asio::io_context& device_thread);
  // Sets frequencies and clocks of the vCPUs; whether their TSCs are set too.
  Result<bool> restore_time(const snapshot::Snapshot& snapshot,
                            const std::vector<kvm::VcpuState>& states);
  Result<TscReading> read_tsc() const;  // the first vCPU's
  Status restore_vcpus(const std::vector<kvm::VcpuState>& states, bool tsc_is_set);
  Status restore_devices(const snapshot::Snapshot& snapshot);
  Status restore_secrets(const snapshot::Snapshot& snapshot);

  // In order of construction; torn down in reverse, the vCPUs' threads first.
  MachineConfig config_;
  std::optional<GuestRam> ram_;
  std::optional<kvm::Vm> vm_;
  std::vector<kvm::CpuidTable> cpuid_;
  std::vector<std::uint32_t> msr_indexes_;
  std::vector<kvm::Vcpu> vcpus_;
  std::optional<GenerationDevices> generation_;
  std::optional<SecretPages> secrets_;
  std::unique_ptr<kvm::IrqLine> vmgenid_line_;
  std::unique_ptr<kvm::IrqLine> vmclock_line_;
  std::unique_ptr<kvm::IrqLine> serial_line_;
  std::optional<Serial> serial_;
  std::optional<SleepRegisters> sleep_;
  std::optional<ResetController> reset_;
  // vsock, if any, in slot 0; then the entropy device; then disks; then network devices; then the
  // balloon. Lines and doorbells before the transports that use them.
  std::unique_ptr<virtio::VsockDevice> vsock_;
  virtio::RngDevice rng_;
  std::vector<std::unique_ptr<virtio::BlockDevice>> disks_;
  std::function<Status(const std::string&)> disk_thread_started_;
  std::vector<std::unique_ptr<virtio::NetDevice>> nets_;
  std::optional<PageDiscard> discard_;
  std::unique_ptr<virtio::BalloonDevice> balloon_;
  std::vector<std::unique_ptr<kvm::IrqLine>> virtio_lines_;
  std::vector<std::unique_ptr<kvm::MmioDoorbell>> virtio_doorbells_;
  std::vector<std::unique_ptr<virtio::MmioTransport>> virtio_;
  bool restored_ = false;  // the vsock device takes its CID from the snapshot
  bool clone_ = false;
  bool devices_paused_ = false;
  Bus ports_;
  Bus mmio_;
  std::optional<VcpuThreads> threads_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_MACHINE_H_
