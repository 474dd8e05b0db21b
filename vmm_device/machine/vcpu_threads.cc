#include "vmm_device/machine/vcpu_threads.h"

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <string>
#include <utility>

#include "vmm_device/machine/vcpu_exit.h"

namespace clonesafe {
namespace {

int kick_signal() {
  return SIGRTMIN;
}

// A signal alone could come just before KVM_RUN and be lost; immediate_exit alone would not reach a
// vCPU that is running. Together they always do.
void set_immediate_exit(kvm::Vcpu& vcpu, bool on) {
  std::atomic_ref<__u8>(vcpu.run_area().immediate_exit).store(on ? 1 : 0);
}

Status install_kick_handler() {
  struct sigaction action{};
  action.sa_handler = [](int) {};  // no SA_RESTART: KVM_RUN returns EINTR
  sigemptyset(&action.sa_mask);
  if (::sigaction(kick_signal(), &action, nullptr) != 0)
    return fail_errno("sigaction for the vCPU kick");
  return {};
}

// Read at once, on the vCPU's thread. What can't be read leaves its part of the line zero.
std::string triple_fault(const kvm::Vcpu& vcpu, const VcpuExit& last) {
  const auto registers = vcpu.get<kvm_regs>(CLONESAFE_KVM(KVM_GET_REGS));
  const auto system_registers = vcpu.get<kvm_sregs2>(CLONESAFE_KVM(KVM_GET_SREGS2));
  return describe_triple_fault(vcpu.name(), registers ? *registers : kvm_regs{},
                               system_registers ? *system_registers : kvm_sregs2{}, last);
}

}  // namespace

VcpuThreads::VcpuThreads(std::vector<kvm::Vcpu>& vcpus, const Bus& ports, const Bus& mmio,
                         Hooks hooks)
    : vcpus_(vcpus), ports_(ports), mmio_(mmio), hooks_(std::move(hooks)) {}

Status VcpuThreads::start() {
  if (auto installed = install_kick_handler(); !installed) return installed;
  // The process's own signals are for its main thread.
  sigset_t all, before;
  sigfillset(&all);
  sigdelset(&all, kick_signal());
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (kvm::Vcpu& vcpu : vcpus_) {
    threads_.emplace_back([this, &vcpu] { begin(vcpu); });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return {};
}

void VcpuThreads::kick_all() {
  for (kvm::Vcpu& vcpu : vcpus_) set_immediate_exit(vcpu, true);
  for (std::thread& thread : threads_) pthread_kill(thread.native_handle(), kick_signal());
}

void VcpuThreads::resume() {
  const std::scoped_lock lock(mutex_);
  if (ended()) return;
  want_ = Want::kRun;
  changed_.notify_all();
}

void VcpuThreads::pause() {
  std::unique_lock lock(mutex_);
  want_ = Want::kPause;
  kick_all();
  changed_.wait(lock, [this] { return parked_ == threads_.size(); });
}

void VcpuThreads::stop() {
  {
    const std::scoped_lock lock(mutex_);
    want_ = Want::kStop;
    kick_all();
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void VcpuThreads::end(MachineEnd end) {
  {
    const std::scoped_lock lock(mutex_);
    if (ended_.exchange(true)) return;
    if (want_ == Want::kRun) want_ = Want::kPause;
    kick_all();
  }
  hooks_.ended(std::move(end));
}

// Waits until the vCPU may run; false if it never will again.
bool VcpuThreads::park(kvm::Vcpu& vcpu) {
  std::unique_lock lock(mutex_);
  if (want_ == Want::kPause) {
    ++parked_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return want_ != Want::kPause; });
    --parked_;
  }
  if (want_ == Want::kStop) return false;
  // Under the lock: a pause that comes now finds it cleared and sets it again.
  set_immediate_exit(vcpu, false);
  return true;
}

// KVM finishes a port or MMIO access only when it is entered again: registers read before that
// would miss the value read. With immediate_exit it finishes and comes back without running
// the guest.
void VcpuThreads::finish_access(kvm::Vcpu& vcpu, VcpuExit& last) {
  set_immediate_exit(vcpu, true);
  for (;;) {
    const int error = vcpu.run();
    if (error == EINTR || error == EAGAIN) return;
    if (error != 0) {
      end({.detail = Error::from_errno("KVM_RUN on " + vcpu.name(), error).message()});
      return;
    }
    // The next part of the same access.
    if (!handle_exit(vcpu, last)) return;
  }
}

void VcpuThreads::begin(kvm::Vcpu& vcpu) {
  // By the thread itself: naming another one needs /proc, which a jailed process has not.
  pthread_setname_np(pthread_self(), vcpu.name().c_str());
  if (hooks_.started) {
    // After an error the vCPUs stay parked for ever; the loop is there to be stopped.
    if (auto ready = hooks_.started(vcpu.name()); !ready) end({.detail = ready.error().message()});
  }
  loop(vcpu);
}

void VcpuThreads::loop(kvm::Vcpu& vcpu) {
  bool access_pending = false;
  VcpuExit last;
  for (;;) {
    if (want_.load(std::memory_order_acquire) != Want::kRun) {
      if (access_pending) finish_access(vcpu, last);
      if (!park(vcpu)) return;
    }
    // Here, not after a park: a thread that starts late finds that it may run at once.
    if (!ran_.load(std::memory_order_relaxed) && !ran_.exchange(true) && hooks_.first_run)
      hooks_.first_run();
    const int error = vcpu.run();
    access_pending = false;
    if (error == EINTR || error == EAGAIN) {
      exits_.interrupted.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    if (error != 0) {
      end({.detail = Error::from_errno("KVM_RUN on " + vcpu.name(), error).message()});
      continue;
    }
    if (!exited_.load(std::memory_order_relaxed) && !exited_.exchange(true) && hooks_.first_exit)
      hooks_.first_exit();
    access_pending = handle_exit(vcpu, last);
  }
}

ExitCounts VcpuThreads::exits() const {
  const auto value = [](const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  return {.port = value(exits_.port),
          .mmio = value(exits_.mmio),
          .interrupted = value(exits_.interrupted),
          .other = value(exits_.other)};
}

void VcpuThreads::count_exit(const kvm_run& run) {
  auto& counter = run.exit_reason == KVM_EXIT_IO     ? exits_.port
                  : run.exit_reason == KVM_EXIT_MMIO ? exits_.mmio
                  : run.exit_reason == KVM_EXIT_INTR ? exits_.interrupted
                                                     : exits_.other;
  counter.fetch_add(1, std::memory_order_relaxed);
}

// True for an access that KVM has yet to finish. `last` is the exit before this one, then this.
bool VcpuThreads::handle_exit(kvm::Vcpu& vcpu, VcpuExit& last) {
  kvm_run& run = vcpu.run_area();
  const VcpuExit before = std::exchange(last, note_exit(run));
  count_exit(run);
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      port_access(run);
      return true;
    case KVM_EXIT_MMIO:
      mmio_access(run);
      return true;
    case KVM_EXIT_INTR:
      return false;
    case KVM_EXIT_SHUTDOWN:
      // A triple fault: what a guest without another way does to reset.
      end({.reason = MachineEnd::Reason::kReset, .detail = triple_fault(vcpu, before)});
      return false;
    case KVM_EXIT_SYSTEM_EVENT:
      end({.reason = run.system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN
                         ? MachineEnd::Reason::kPowerOff
                         : MachineEnd::Reason::kReset,
           .detail = {}});
      return false;
    default:
      end({.detail = vcpu.name() + ": " + describe_failure(run)});
      return false;
  }
}

void VcpuThreads::port_access(kvm_run& run) const {
  // `count` units of `size` bytes each, in the run area (string instructions).
  auto* data = reinterpret_cast<std::byte*>(&run) + run.io.data_offset;
  for (std::uint32_t i = 0; i < run.io.count; ++i, data += run.io.size) {
    const std::span<std::byte> unit(data, run.io.size);
    if (run.io.direction == KVM_EXIT_IO_IN)
      ports_.read(run.io.port, unit);
    else
      ports_.write(run.io.port, unit);
  }
}

void VcpuThreads::mmio_access(kvm_run& run) const {
  const std::span<std::byte> unit(reinterpret_cast<std::byte*>(run.mmio.data), run.mmio.len);
  if (run.mmio.is_write != 0)
    mmio_.write(run.mmio.phys_addr, unit);
  else
    mmio_.read(run.mmio.phys_addr, unit);
}

}  // namespace clonesafe
