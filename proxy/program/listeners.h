#ifndef CLONESAFE_PROXY_PROGRAM_LISTENERS_H_
#define CLONESAFE_PROXY_PROGRAM_LISTENERS_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "proxy/config/config.h"

namespace clonesafe::proxy {

// The listening sockets, by address and thread. They outlive a configuration: whoever connects to
// an address that the next one has too finds it listening all the time.
class Listeners {
 public:
  explicit Listeners(std::size_t threads) : threads_(threads) {}

  // Those that a service manager opened (LISTEN_FDS, sd_listen_fds(3)). At most once in a process.
  Status inherit();

  // For every address of these services: one that is here, or a new one. This is left as it is.
  Result<Listeners> with(const std::vector<ServiceConfig>& services) const;

  // Of a thread's own, in the order of `service.listen`.
  Result<std::vector<UniqueFd>> sockets(const ServiceConfig& service, std::size_t thread) const;

 private:
  Result<std::vector<UniqueFd>> open(const Address& address) const;

  std::size_t threads_;
  std::map<std::string, std::vector<UniqueFd>> sockets_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROGRAM_LISTENERS_H_
