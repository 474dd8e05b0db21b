#ifndef CLONESAFE_VMM_DEVICE_MACHINE_VCPU_THREADS_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_VCPU_THREADS_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/kvm/kvm.h"
#include "vmm_device/machine/bus.h"
#include "vmm_device/machine/metrics.h"
#include "vmm_device/machine/vcpu_exit.h"

namespace clonesafe {

// How a machine ended.
struct MachineEnd {
  enum class Reason { kPowerOff, kReset, kFailed };
  Reason reason = Reason::kFailed;
  std::string detail;  // of a failure or a triple fault: one line
};

// The threads that run the vCPUs, one each. They start parked. pause(), resume() and stop() are
// called by one thread, which is none of them.
class VcpuThreads {
 public:
  struct Hooks {
    // Once, on a vCPU's thread; the vCPUs park then and never run again.
    std::function<void(MachineEnd)> ended;
    // First of all on each vCPU's thread; one that fails ends the machine before it runs. Optional.
    std::function<Status(const std::string& vcpu)> started;
    // Just before the very first KVM_RUN, and after the first exit of a guest to us. Optional.
    std::function<void()> first_run;
    std::function<void()> first_exit;
  };

  // Everything given outlives this.
  VcpuThreads(std::vector<kvm::Vcpu>& vcpus, const Bus& ports, const Bus& mmio, Hooks hooks);
  ~VcpuThreads() { stop(); }
  VcpuThreads(const VcpuThreads&) = delete;
  VcpuThreads& operator=(const VcpuThreads&) = delete;

  Status start();
  void resume();
  // When this returns every vCPU is parked, its pending port or MMIO access finished, and its state
  // may be read and set.
  void pause();
  void stop();

  // Ends the machine from a device, on a vCPU's thread. The first end counts.
  void end(MachineEnd end);
  bool ended() const { return ended_.load(std::memory_order_acquire); }

  // So far, of all vCPUs; while they run, the figures are each a little apart in time.
  ExitCounts exits() const;

 private:
  enum class Want { kPause, kRun, kStop };

  void begin(kvm::Vcpu& vcpu);
  void loop(kvm::Vcpu& vcpu);
  bool park(kvm::Vcpu& vcpu);
  void finish_access(kvm::Vcpu& vcpu, VcpuExit& last);
  void count_exit(const kvm_run& run);
  bool handle_exit(kvm::Vcpu& vcpu, VcpuExit& last);
  void port_access(kvm_run& run) const;
  void mmio_access(kvm_run& run) const;
  void kick_all();

  std::vector<kvm::Vcpu>& vcpus_;
  const Bus& ports_;
  const Bus& mmio_;
  const Hooks hooks_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<Want> want_ = Want::kPause;  // written under mutex_
  std::size_t parked_ = 0;                 // mutex_
  std::atomic<bool> ended_ = false;
  std::atomic<bool> ran_ = false;
  std::atomic<bool> exited_ = false;
  struct Counters {
    std::atomic<std::uint64_t> port, mmio, interrupted, other;
  };
  Counters exits_{};
  std::vector<std::thread> threads_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_VCPU_THREADS_H_
