#include "vmm_device/kvm/kvm.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "vmm_device/core/layout.h"

namespace clonesafe::kvm {
namespace {

// A table that the kernel's headers declare with a flexible array. In C++ the header's helper for
// such an array has a size, which shifts the array and changes the ioctl number (it holds the
// structure's size): so the tables are declared here, and the numbers made from them.
struct TableHeader {
  std::uint32_t count;
  std::uint32_t padding;
};
struct IndexHeader {
  std::uint32_t count;
};
static_assert(sizeof(kvm_cpuid_entry2) == 40 && sizeof(kvm_msr_entry) == 16);
constexpr Request kGetSupportedCpuid{_IOWR(KVMIO, 0x05, TableHeader), "KVM_GET_SUPPORTED_CPUID"};
constexpr Request kSetCpuid{_IOW(KVMIO, 0x90, TableHeader), "KVM_SET_CPUID2"};
constexpr Request kGetMsrs{_IOWR(KVMIO, 0x88, TableHeader), "KVM_GET_MSRS"};
constexpr Request kSetMsrs{_IOW(KVMIO, 0x89, TableHeader), "KVM_SET_MSRS"};
// KVM refuses 256 and more in one call.
constexpr std::size_t kMsrsAtOnce = 128;
struct Xsave {
  std::byte area[kXsaveSize];
};
constexpr Request kGetXsave{_IOR(KVMIO, 0xa4, Xsave), "KVM_GET_XSAVE"};
constexpr Request kGetXsave2{_IOR(KVMIO, 0xcf, Xsave), "KVM_GET_XSAVE2"};
constexpr Request kSetXsave{_IOW(KVMIO, 0xa5, Xsave), "KVM_SET_XSAVE"};
constexpr Request kGetMsrIndexes{_IOWR(KVMIO, 0x02, IndexHeader), "KVM_GET_MSR_INDEX_LIST"};

// A header with room for `entries` behind it, zeroed.
template <typename Header, typename Entry>
class Table {
 public:
  explicit Table(std::size_t entries) : bytes_(sizeof(Header) + entries * sizeof(Entry)) {
    header()->count = static_cast<std::uint32_t>(entries);
  }
  Header* header() { return reinterpret_cast<Header*>(bytes_.data()); }
  Entry* entries() { return reinterpret_cast<Entry*>(bytes_.data() + sizeof(Header)); }
  std::vector<Entry> take() { return std::vector<Entry>(entries(), entries() + header()->count); }

 private:
  std::vector<std::byte> bytes_;
};

kvm_device_attr tsc_offset_attribute(std::uint64_t* offset) {
  kvm_device_attr attribute{};
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
  attribute.addr = reinterpret_cast<std::uintptr_t>(offset);
  return attribute;
}

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

Result<int> call(int fd, Request request, std::string_view object, void* argument) {
  for (;;) {
    const int result = ::ioctl(fd, request.number, argument);
    if (result >= 0) return result;
    if (errno != EINTR) return fail_errno(std::string(request.name) + " on " + std::string(object));
  }
}

Result<int> call(int fd, Request request, std::string_view object, unsigned long argument) {
  for (;;) {
    const int result = ::ioctl(fd, request.number, argument);
    if (result >= 0) return result;
    if (errno != EINTR) return fail_errno(std::string(request.name) + " on " + std::string(object));
  }
}

Status IrqLine::set_level(std::uint32_t level) const {
  kvm_irq_level line{};
  line.irq = gsi_;
  line.level = level;
  auto done =
      call(vm_, CLONESAFE_KVM(KVM_IRQ_LINE), "interrupt line " + std::to_string(gsi_), &line);
  if (!done) return fail(done.error());
  return {};
}

void IrqLine::raise() {
  const std::scoped_lock lock(mutex_);
  // Fails only without interrupt controllers, which Vm::irq_line has found to be there.
  [[maybe_unused]] const bool raised = set_level(1).has_value() && set_level(0).has_value();
  assert(raised);
}

Status MmioDoorbell::connect(std::uint32_t value, int event) {
  kvm_ioeventfd signal{};
  signal.datamatch = value;
  signal.addr = address_.value();
  signal.len = sizeof value;
  signal.fd = event;
  signal.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
  auto done =
      call(vm_, CLONESAFE_KVM(KVM_IOEVENTFD), "doorbell at " + hex(address_.value()), &signal);
  if (!done) return fail(done.error());
  return {};
}

Vcpu::Vcpu(UniqueFd fd, Mapping run, std::uint32_t index)
    : fd_(std::move(fd)),
      run_(std::move(run)),
      index_(index),
      name_("vcpu " + std::to_string(index)) {}

int Vcpu::run() {
  return ::ioctl(fd_.get(), KVM_RUN, 0) < 0 ? errno : 0;
}

Status Vcpu::command(Request request, unsigned long argument) const {
  if (auto done = call(fd_.get(), request, name_, argument); !done) return fail(done.error());
  return {};
}

Result<std::uint32_t> Vcpu::tsc_khz() const {
  auto khz = call(fd_.get(), CLONESAFE_KVM(KVM_GET_TSC_KHZ), name_, 0UL);
  if (!khz) return fail(khz.error());
  return static_cast<std::uint32_t>(*khz);
}

Status Vcpu::set_tsc_khz(std::uint32_t khz) const {
  return command(CLONESAFE_KVM(KVM_SET_TSC_KHZ), khz);
}

bool Vcpu::has_tsc_offset() const {
  kvm_device_attr attribute = tsc_offset_attribute(nullptr);
  return call(fd_.get(), CLONESAFE_KVM(KVM_HAS_DEVICE_ATTR), name_, &attribute).has_value();
}

Result<std::uint64_t> Vcpu::tsc_offset() const {
  std::uint64_t offset = 0;
  kvm_device_attr attribute = tsc_offset_attribute(&offset);
  auto done = call(fd_.get(), CLONESAFE_KVM(KVM_GET_DEVICE_ATTR), name_, &attribute);
  if (!done) return fail(done.error(), "KVM_VCPU_TSC_OFFSET");
  return offset;
}

Status Vcpu::set_tsc_offset(std::uint64_t offset) const {
  kvm_device_attr attribute = tsc_offset_attribute(&offset);
  auto done = call(fd_.get(), CLONESAFE_KVM(KVM_SET_DEVICE_ATTR), name_, &attribute);
  if (!done) return fail(done.error(), "KVM_VCPU_TSC_OFFSET");
  return {};
}

Status Vcpu::set_cpuid(std::span<const kvm_cpuid_entry2> entries) const {
  Table<TableHeader, kvm_cpuid_entry2> table(entries.size());
  std::memcpy(table.entries(), entries.data(), entries.size_bytes());
  auto done = call(fd_.get(), kSetCpuid, name_, table.header());
  if (!done) return fail(done.error());
  return {};
}

Result<std::vector<kvm_msr_entry>> Vcpu::get_msrs(std::span<const std::uint32_t> indexes) const {
  std::vector<kvm_msr_entry> values;
  // KVM stops at the first MSR it can't read and says how many it did: leave that one out, go on.
  for (std::size_t next = 0; next < indexes.size();) {
    const auto left = indexes.subspan(next, std::min(kMsrsAtOnce, indexes.size() - next));
    Table<TableHeader, kvm_msr_entry> table(left.size());
    for (std::size_t i = 0; i < left.size(); ++i) table.entries()[i].index = left[i];
    auto done = call(fd_.get(), kGetMsrs, name_, table.header());
    if (!done) return fail(done.error());
    values.insert(values.end(), table.entries(), table.entries() + *done);
    const auto count = static_cast<std::size_t>(*done);
    next += count == left.size() ? count : count + 1;
  }
  return values;
}

Status Vcpu::set_msrs(std::span<const kvm_msr_entry> entries) const {
  for (std::size_t next = 0; next < entries.size();) {
    const auto left = entries.subspan(next, std::min(kMsrsAtOnce, entries.size() - next));
    Table<TableHeader, kvm_msr_entry> table(left.size());
    std::memcpy(table.entries(), left.data(), left.size_bytes());
    auto done = call(fd_.get(), kSetMsrs, name_, table.header());
    if (!done) return fail(done.error());
    const auto count = static_cast<std::size_t>(*done);
    if (count < left.size())
      return fail("KVM_SET_MSRS on " + name_ + ": KVM refuses MSR " + hex(left[count].index) +
                  " = " + hex(left[count].data));
    next += count;
  }
  return {};
}

Result<std::vector<std::byte>> Vcpu::get_xsave(std::size_t size) const {
  std::vector<std::byte> area(size);
  const Request request = size > kXsaveSize ? kGetXsave2 : kGetXsave;
  auto done = call(fd_.get(), request, name_, area.data());
  if (!done) return fail(done.error());
  return area;
}

Status Vcpu::set_xsave(std::span<const std::byte> area, std::size_t size) const {
  if (area.size() > size)
    return fail("KVM_SET_XSAVE on " + name_ + ": an area of " + std::to_string(area.size()) +
                " bytes, this host's is " + std::to_string(size));
  // KVM reads `size` bytes whatever it is handed.
  std::vector<std::byte> padded(size);
  std::memcpy(padded.data(), area.data(), area.size());
  auto done = call(fd_.get(), kSetXsave, name_, padded.data());
  if (!done) return fail(done.error());
  return {};
}

Status Vm::add_memory_slot(std::uint32_t slot, GuestAddress start, std::span<std::byte> bytes,
                           bool log_writes) {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  region.flags = log_writes ? KVM_MEM_LOG_DIRTY_PAGES : 0u;
  region.guest_phys_addr = start.value();
  region.memory_size = bytes.size();
  region.userspace_addr = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::string object = "memory slot " + std::to_string(slot) + " at " + hex(start.value());
  auto done = call(fd_.get(), CLONESAFE_KVM(KVM_SET_USER_MEMORY_REGION), object, &region);
  if (!done) return fail(done.error());
  return {};
}

Result<std::vector<std::uint64_t>> Vm::dirty_log(std::uint32_t slot, std::uint64_t size) const {
  constexpr std::uint64_t kPage = 4096;
  std::vector<std::uint64_t> bitmap((size / kPage + 63) / 64);
  kvm_dirty_log log{};
  log.slot = slot;
  log.dirty_bitmap = bitmap.data();
  auto done = call(fd_.get(), CLONESAFE_KVM(KVM_GET_DIRTY_LOG),
                   "memory slot " + std::to_string(slot), &log);
  if (!done) return fail(done.error());
  return bitmap;
}

Status Vm::create_interrupt_controllers() {
  // Both are for Intel hosts that emulate real mode; elsewhere KVM just notes them.
  unsigned long identity_map = layout::kKvmIdentityMap;
  auto done = call(fd_.get(), CLONESAFE_KVM(KVM_SET_IDENTITY_MAP_ADDR), "vm", &identity_map);
  if (!done) return fail(done.error());
  done = call(fd_.get(), CLONESAFE_KVM(KVM_SET_TSS_ADDR), "vm", layout::kKvmTss);
  if (!done) return fail(done.error());
  done = call(fd_.get(), CLONESAFE_KVM(KVM_CREATE_IRQCHIP), "vm", 0UL);
  if (!done) return fail(done.error());
  return {};
}

Result<Vcpu> Vm::create_vcpu(std::uint32_t index) const {
  const std::string name = "vcpu " + std::to_string(index);
  auto fd = call(fd_.get(), CLONESAFE_KVM(KVM_CREATE_VCPU), name, std::uint64_t{index});
  if (!fd) return fail(fd.error());
  UniqueFd owned(*fd);
  auto run = Mapping::map(name + "'s run area", run_size_, PROT_READ | PROT_WRITE, MAP_SHARED,
                          owned.get());
  if (!run) return fail(run.error());
  return Vcpu(std::move(owned), std::move(*run), index);
}

Result<std::unique_ptr<IrqLine>> Vm::irq_line(std::uint32_t gsi) const {
  auto line = std::make_unique<IrqLine>(fd_.get(), gsi);
  if (auto low = line->set_level(0); !low) return fail(low.error());
  return line;
}

std::unique_ptr<MmioDoorbell> Vm::doorbell(GuestAddress address) const {
  return std::make_unique<MmioDoorbell>(fd_.get(), address);
}

int Vm::extension(unsigned long capability) const {
  const int result = ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, capability);
  return result < 0 ? 0 : result;
}

std::size_t Vm::xsave_size() const {
  const int size = extension(KVM_CAP_XSAVE2);
  const auto least = kXsaveSize;
  return size < 0 || static_cast<std::size_t>(size) < least ? least
                                                            : static_cast<std::size_t>(size);
}

Result<Kvm> Kvm::open(const char* path) {
  UniqueFd fd(::open(path, O_RDWR | O_CLOEXEC));
  if (!fd) return fail_errno(path);
  auto version = call(fd.get(), CLONESAFE_KVM(KVM_GET_API_VERSION), path, 0UL);
  if (!version) return fail(version.error());
  if (*version != KVM_API_VERSION)
    return fail(std::string(path) + ": KVM API version " + std::to_string(*version) +
                ", expected " + std::to_string(KVM_API_VERSION));
  struct Needed {
    unsigned long capability;
    const char* name;
  };
  static constexpr Needed kNeeded[] = {
      {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
      {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
      {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
      {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
      {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
      {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
      {KVM_CAP_XCRS, "KVM_CAP_XCRS"},
      {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
      {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
      {KVM_CAP_KVMCLOCK_CTRL, "KVM_CAP_KVMCLOCK_CTRL"},
      {KVM_CAP_SREGS2, "KVM_CAP_SREGS2"},
      {KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER"},
  };
  for (const Needed& needed : kNeeded) {
    if (::ioctl(fd.get(), KVM_CHECK_EXTENSION, needed.capability) <= 0)
      return fail(std::string(path) + ": this host's KVM lacks " + needed.name);
  }
  auto run_size = call(fd.get(), CLONESAFE_KVM(KVM_GET_VCPU_MMAP_SIZE), path, 0UL);
  if (!run_size) return fail(run_size.error());
  if (static_cast<std::size_t>(*run_size) < sizeof(kvm_run))
    return fail(std::string(path) + ": a vCPU run area of " + std::to_string(*run_size) + " bytes");
  return Kvm(std::move(fd), static_cast<std::size_t>(*run_size));
}

Result<Vm> Kvm::create_vm() const {
  auto fd = call(fd_.get(), CLONESAFE_KVM(KVM_CREATE_VM), "/dev/kvm", 0UL);
  if (!fd) return fail(fd.error());
  return Vm(UniqueFd(*fd), run_size_);
}

Result<std::vector<kvm_cpuid_entry2>> Kvm::supported_cpuid() const {
  for (std::size_t room = 128; room <= 4096; room *= 2) {
    Table<TableHeader, kvm_cpuid_entry2> table(room);
    auto done = call(fd_.get(), kGetSupportedCpuid, "/dev/kvm", table.header());
    if (done) return table.take();
    if (done.error().error_number() != E2BIG) return fail(done.error());
  }
  return fail("KVM_GET_SUPPORTED_CPUID on /dev/kvm: more than 4096 entries");
}

Result<std::vector<std::uint32_t>> Kvm::msr_indexes() const {
  for (std::size_t room = 256; room <= 8192; room *= 2) {
    Table<IndexHeader, std::uint32_t> table(room);
    auto done = call(fd_.get(), kGetMsrIndexes, "/dev/kvm", table.header());
    if (done) return table.take();
    if (done.error().error_number() != E2BIG) return fail(done.error());
  }
  return fail("KVM_GET_MSR_INDEX_LIST on /dev/kvm: more than 8192 entries");
}

int Kvm::extension(unsigned long capability) const {
  const int result = ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, capability);
  return result < 0 ? 0 : result;
}

}  // namespace clonesafe::kvm
