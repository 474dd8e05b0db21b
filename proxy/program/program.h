// program: the process: what is done once, in which order, and how it ends.
#ifndef CLONESAFE_PROXY_PROGRAM_PROGRAM_H_
#define CLONESAFE_PROXY_PROGRAM_PROGRAM_H_

#include <memory>
#include <vector>

#include "libclonesafe/base/error.h"
#include "proxy/config/config.h"
#include "proxy/service/worker.h"

namespace clonesafe::proxy {

void log_to_standard_error();

class Program {
 public:
  // Reads all that the configuration names (certificates, keys, trust). Nothing listens yet.
  static Result<std::unique_ptr<Program>> make(const Config& config);

  // Listens and serves until SIGTERM or SIGINT.
  Status run();

 private:
  explicit Program(const Config& config) : config_(config) {}

  Status check_tier() const;
  Status listen();
  Status follow_generation();
  static Status wait_for_signal();

  const Config config_;
  std::vector<ServiceParts> parts_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROGRAM_PROGRAM_H_
