#ifndef CLONESAFE_PROXY_SERVICE_WORKER_H_
#define CLONESAFE_PROXY_SERVICE_WORKER_H_

#include <memory>
#include <thread>
#include <vector>

#include "proxy/service/service.h"

namespace clonesafe::proxy {

// One thread with all services. Nothing is shared with other threads but the services' parts.
class Worker {
 public:
  explicit Worker(const std::vector<ServiceParts>& parts);
  ~Worker();

  Service& service(std::size_t index) { return *services_[index]; }

  // Runs until stop(); on a thread of its own.
  void start();
  // From any thread; at most once.
  void stop();
  // Has the thread look for a new generation now, and waits until what is stale is closed or has
  // been given up. From any other thread.
  void fence();

 private:
  Awaitable<void> watch();
  void look();

  Loop loop_;
  std::vector<std::shared_ptr<Service>> services_;
  Fence::Epoch epoch_ = loop_.fence().now();
  std::thread thread_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SERVICE_WORKER_H_
