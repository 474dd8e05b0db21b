#ifndef CLONESAFE_PROXY_PROGRAM_PARKING_H_
#define CLONESAFE_PROXY_PROGRAM_PARKING_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "clonesafe/hooks.h"
#include "libclonesafe/base/error.h"
#include "proxy/config/config.h"
#include "proxy/service/worker.h"

namespace clonesafe::proxy {

// What the process does around a snapshot, as hooks of libclonesafe, which run on a thread of its
// own. Before one that was announced the workers are parked; after it, or after a restore, they let
// go of what is stale and go on. Connections that are used look at the generation themselves, and
// need no news.
class Parking {
 public:
  // `workers` run already, and outlive this.
  static Result<std::unique_ptr<Parking>> start(const std::vector<std::unique_ptr<Worker>>& workers,
                                                const Config& config);
  // No hook runs any more when this returns.
  ~Parking();
  Parking(const Parking&) = delete;
  Parking& operator=(const Parking&) = delete;

  bool parked() const { return parked_; }

 private:
  struct RemoveHook {
    void operator()(cs_hook* hook) const { cs_hook_remove(hook); }
  };
  using Hook = std::unique_ptr<cs_hook, RemoveHook>;
  using Register = int(const cs_hook_options*, cs_hook**);

  explicit Parking(const std::vector<std::unique_ptr<Worker>>& workers, const Config& config)
      : workers_(workers), park_(config.park), deadline_(config.park_deadline) {}
  Result<Hook> add(Register* registers, cs_hook_function* function);
  int before_snapshot(const cs_event& event);
  int after_restore();

  const std::vector<std::unique_ptr<Worker>>& workers_;
  const Park park_;
  const std::chrono::milliseconds deadline_;
  std::atomic<bool> parked_ = false;
  Hook before_, after_;
  bool watches_ = false;
};

// "cache: 2 closed; db: 1 busy", for people. Cut to CS_HOOK_DETAIL.
std::string parking_report(const std::vector<ServiceCensus>& before,
                           const std::vector<ServiceCensus>& after, Park park);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROGRAM_PARKING_H_
