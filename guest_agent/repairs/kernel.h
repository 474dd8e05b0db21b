#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_KERNEL_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_KERNEL_H_

#include <time.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// The kernel calls that repairs make; a test puts its own in place, to inject failures.
class Kernel {
 public:
  virtual ~Kernel() = default;

  // RNDADDENTROPY: mixes `bytes` in and credits that many bits.
  virtual Status add_entropy(std::span<const std::uint8_t> bytes, int credit_bits) = 0;
  // A write to /dev/urandom: mixes in, credits nothing, and alone rekeys nothing.
  virtual Status mix(std::span<const std::uint8_t> bytes) = 0;
  // RNDRESEEDCRNG: the generator takes a new key from the pool now.
  virtual Status reseed() = 0;
  // getrandom(2), without waiting for a generator that was never seeded.
  virtual Status random(std::span<std::uint8_t> bytes) = 0;

  virtual Result<std::string> hostname() = 0;
  virtual Status set_hostname(const std::string& name) = 0;
  // clock_gettime(2) and clock_settime(2), in ns.
  virtual Result<std::int64_t> clock(clockid_t which) = 0;
  virtual Status set_realtime(std::int64_t ns) = 0;
  // The processor's time stamp counter.
  virtual std::uint64_t tsc() = 0;
  // mount(2) with MS_BIND, of a file over a file.
  virtual Status bind_mount(const std::string& from, const std::string& over) = 0;
};

// The running kernel. The device is opened now, so that a repair needs no path lookup.
Result<std::unique_ptr<Kernel>> open_linux_kernel();

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_KERNEL_H_
