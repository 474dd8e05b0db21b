// kvm: thin owners of the kernel's KVM objects; every call is checked, and every error names the
// ioctl and the object it was made on.
//
// Nothing here knows of devices, boot or snapshots' files. A Vcpu's calls are made by the thread
// that runs it, or while that thread is parked.
#ifndef CLONESAFE_VMM_DEVICE_KVM_KVM_H_
#define CLONESAFE_VMM_DEVICE_KVM_KVM_H_

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/mapping.h"
#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/core/bus_device.h"
#include "vmm_device/core/guest_memory.h"

namespace clonesafe::kvm {

// The least an XSAVE area has in KVM's interface. (In C++ sizeof(kvm_xsave) is not it: kvm.cc says
// why.)
inline constexpr std::size_t kXsaveSize = 4096;

// IA32_TIME_STAMP_COUNTER.
inline constexpr std::uint32_t kMsrTsc = 0x10;

// An ioctl with the name it has in errors; made by CLONESAFE_KVM(KVM_...).
struct Request {
  unsigned long number;
  const char* name;
};
#define CLONESAFE_KVM(request) \
  ::clonesafe::kvm::Request {  \
    request, #request          \
  }

// ioctl(fd, request, argument), tried again when a signal interrupts it. KVM_RUN does not go
// through here.
Result<int> call(int fd, Request request, std::string_view object, void* argument);
Result<int> call(int fd, Request request, std::string_view object, unsigned long argument);

// A line of the in-kernel interrupt controllers: one edge for each call. When raise() returns, the
// controllers have the edge, so it is in whatever is read of them afterwards. (An irqfd hands edges
// of these lines to a kernel thread, which may deliver them after a snapshot has read the
// controllers: they would be lost.) The Vm outlives it.
class IrqLine : public InterruptLine {
 public:
  IrqLine(int vm, std::uint32_t gsi) : vm_(vm), gsi_(gsi) {}
  void raise() override;
  // Puts the line low or high.
  Status set_level(std::uint32_t level) const;

 private:
  const int vm_;
  const std::uint32_t gsi_;
  // High and low of one edge belong together: KVM drops a second high, whose cause the guest's
  // handler of the first may have been too early to see.
  std::mutex mutex_;
};

// One register on the MMIO bus (KVM_IOEVENTFD). The Vm outlives it.
class MmioDoorbell : public Doorbell {
 public:
  MmioDoorbell(int vm, GuestAddress address) : vm_(vm), address_(address) {}
  Status connect(std::uint32_t value, int event) override;

 private:
  const int vm_;
  const GuestAddress address_;
};

class Vcpu {
 public:
  Vcpu(UniqueFd fd, Mapping run, std::uint32_t index);

  std::uint32_t index() const { return index_; }
  const std::string& name() const { return name_; }
  kvm_run& run_area() const { return *reinterpret_cast<kvm_run*>(run_.data()); }
  // KVM_RUN. 0 or the errno: EINTR and EAGAIN are part of normal life.
  int run();

  template <typename T>
  Result<T> get(Request request) const {
    T value{};
    if (auto done = call(fd_.get(), request, name_, &value); !done) return fail(done.error());
    return value;
  }
  template <typename T>
  Status set(Request request, const T& value) const {
    T copy = value;
    if (auto done = call(fd_.get(), request, name_, &copy); !done) return fail(done.error());
    return {};
  }
  Status command(Request request, unsigned long argument) const;
  // The guest's TSC frequency: the host's until another one is set (guest_time.h says which can
  // be).
  Result<std::uint32_t> tsc_khz() const;
  Status set_tsc_khz(std::uint32_t khz) const;
  // What is added to the host's (scaled) TSC, modulo 2^64; on KVM since Linux 5.16.
  bool has_tsc_offset() const;
  Result<std::uint64_t> tsc_offset() const;
  Status set_tsc_offset(std::uint64_t offset) const;

  Status set_cpuid(std::span<const kvm_cpuid_entry2> entries) const;
  // The values of those of `indexes` that can be read; the others are left out.
  Result<std::vector<kvm_msr_entry>> get_msrs(std::span<const std::uint32_t> indexes) const;
  // Sets them in order; the error names the first that KVM refuses.
  Status set_msrs(std::span<const kvm_msr_entry> entries) const;
  // KVM_GET_XSAVE2 where KVM has it; `size` is Vm::xsave_size().
  Result<std::vector<std::byte>> get_xsave(std::size_t size) const;
  Status set_xsave(std::span<const std::byte> area, std::size_t size) const;

 private:
  UniqueFd fd_;
  Mapping run_;
  std::uint32_t index_;
  std::string name_;
};

// A virtual machine. Memory slots come before anything that touches the in-kernel I/O bus
// (create_interrupt_controllers, irq_line): a slot added soon after one waits for a whole RCU grace
// period, 7 ms instead of 0.1 (docs/performance.md). The order is a contract of this class.
class Vm {
 public:
  Vm(UniqueFd fd, std::size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}

  // With `log_writes`, KVM notes which pages vCPUs write, for dirty_log().
  Status add_memory_slot(std::uint32_t slot, GuestAddress start, std::span<std::byte> bytes,
                         bool log_writes = false);
  // The pages of a slot of `size` bytes that vCPUs wrote since the last call, a bit each.
  Result<std::vector<std::uint64_t>> dirty_log(std::uint32_t slot, std::uint64_t size) const;
  // In-kernel PICs, IOAPIC and local APICs. After the memory slots, before the first vCPU. No PIT:
  // the tables declare a hardware-reduced platform, so Linux never looks for one.
  Status create_interrupt_controllers();
  Result<Vcpu> create_vcpu(std::uint32_t index) const;
  Result<std::unique_ptr<IrqLine>> irq_line(std::uint32_t gsi) const;
  std::unique_ptr<MmioDoorbell> doorbell(GuestAddress address) const;

  // KVM_CHECK_EXTENSION on this VM: 0 if absent.
  int extension(unsigned long capability) const;
  std::size_t xsave_size() const;

  template <typename T>
  Result<T> get(Request request, T value = {}) const {
    if (auto done = call(fd_.get(), request, "vm", &value); !done) return fail(done.error());
    return value;
  }
  template <typename T>
  Status set(Request request, const T& value) const {
    T copy = value;
    if (auto done = call(fd_.get(), request, "vm", &copy); !done) return fail(done.error());
    return {};
  }

 private:
  UniqueFd fd_;
  std::size_t run_size_;
};

// The host's KVM.
class Kvm {
 public:
  // Opens /dev/kvm and checks that it has all that a complete snapshot needs.
  static Result<Kvm> open(const char* path = "/dev/kvm");

  Result<Vm> create_vm() const;
  // What KVM can show a guest on this host.
  Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;
  // The MSRs that make up a vCPU's state.
  Result<std::vector<std::uint32_t>> msr_indexes() const;
  int extension(unsigned long capability) const;

 private:
  Kvm(UniqueFd fd, std::size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}
  UniqueFd fd_;
  std::size_t run_size_;
};

}  // namespace clonesafe::kvm

#endif  // CLONESAFE_VMM_DEVICE_KVM_KVM_H_
