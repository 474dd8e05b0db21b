#ifndef CLONESAFE_PROXY_UPSTREAM_OWN_PORTS_H_
#define CLONESAFE_PROXY_UPSTREAM_OWN_PORTS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "proxy/core/address.h"

namespace clonesafe::proxy {

// The source ports that a service's connections to its upstreams are bound to, on all threads. A
// connection that comes to the service by one of them is its own, which a rule of the kernel's
// brought back: to serve it would be to serve it for ever. Thread-safe, without locks.
class OwnPorts : public std::enable_shared_from_this<OwnPorts> {
 public:
  // As long as it lives the port is the service's: taken after bind(2), which gives it to nobody
  // else, and before connect(2).
  using Hold = std::shared_ptr<const void>;
  Hold hold(const Endpoint& ours);

  bool has(const Endpoint& peer) const;

 private:
  static constexpr std::size_t kPorts = 65'536, kBits = 64, kFamilies = 2;

  struct Bit {
    std::size_t word;
    std::uint64_t mask;
  };
  static Bit bit_of(const Endpoint& endpoint);

  std::array<std::atomic<std::uint64_t>, kFamilies * kPorts / kBits> ports_{};
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_OWN_PORTS_H_
