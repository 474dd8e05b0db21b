#ifndef CLONESAFE_BENCH_DEVICES_VMM_THREADS_H_
#define CLONESAFE_BENCH_DEVICES_VMM_THREADS_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>

namespace clonesafe::bench {

struct ThreadCounts {
  std::uint64_t slept = 0;  // times that it gave up the processor by itself, and was woken
  std::uint64_t ticks = 0;  // of processor time
};

// What the threads of a VMM did, by their names.
struct VmmCounts {
  std::map<std::string, ThreadCounts> threads;
  std::map<std::string, std::uint64_t> kvm;  // KVM's statistics, if debugfs is there
};
VmmCounts counts_of(pid_t vmm);
VmmCounts operator-(VmmCounts after, const VmmCounts& before);

// clonevm's "vcpu 0" and QEMU's "CPU 0/KVM". A vCPU's thread sleeps whenever its guest does.
bool is_vcpu(const std::string& thread);
// How often threads slept: those of vCPUs, or the others.
std::uint64_t slept(const VmmCounts& counts, bool vcpus);
std::string describe(const VmmCounts& counts);

}  // namespace clonesafe::bench

#endif  // CLONESAFE_BENCH_DEVICES_VMM_THREADS_H_
