#ifndef CLONESAFE_PROXY_SERVICE_WORKER_H_
#define CLONESAFE_PROXY_SERVICE_WORKER_H_

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/service/census.h"
#include "proxy/service/service.h"

namespace clonesafe::proxy {

// One thread with all services. Nothing is shared with other threads but the services' parts.
// Unless it says otherwise a function is called before start() or, while the thread runs, from any
// other thread, and returns when that thread has done it.
class Worker {
 public:
  // One of so many.
  explicit Worker(std::size_t workers = 1) : loop_(workers) {}
  ~Worker();

  struct Part {
    std::shared_ptr<const ServiceParts> parts;
    std::vector<UniqueFd> sockets;
  };
  // These services in place of those that there are, whose sessions go on until they end.
  Status serve(std::vector<Part> services);

  // Before start().
  Service& service(std::size_t index) { return *services_[index]; }

  // Runs until stop(); on a thread of its own.
  void start();
  // Returns at once; at most once.
  void stop();
  // Has the thread look for a new generation now, and waits until what is stale is closed or has
  // been given up.
  void fence();

  void stop_listening();
  void reset_all();
  void pause();
  void resume();

  // An announced snapshot.
  struct Parking {
    bool part = false;  // closes upstreams' connections; otherwise all are kept
    std::chrono::milliseconds deadline{0};
  };
  // What is left then: with `part` when there are no upstream connections any more and no commands
  // run for a login, or the deadline is over. Returns at once; the thread must run.
  std::future<std::vector<ServiceCensus>> park(Parking how);
  void unpark();

  Tombstones::Counts tombstones();
  // Per name, also of services that are no more.
  std::vector<ServiceCensus> census();
  std::vector<SessionCensus> sessions(std::size_t limit);

 private:
  void run(const std::function<void()>& what);
  std::vector<std::shared_ptr<Service>> all() const;
  bool has_parted() const;
  std::vector<ServiceCensus> take_census() const;
  Awaitable<void> watch();
  Awaitable<void> park_all(Parking how);
  void bury();
  void look();
  bool half_fenced() const;
  void leave_rest(std::vector<Tombstones::Holder*> all);
  void bury_left();

  Loop loop_;
  std::vector<std::shared_ptr<Service>> services_;
  std::vector<std::shared_ptr<Service>> retired_;  // that were replaced, and have sessions
  std::vector<ServiceCensus> past_;                // of those that had
  bool paused_ = false;
  bool parked_ = false;
  bool watches_ = false;
  std::size_t leaving_ = 0;  // parts of leave_rest() and bury_left() that are to come
  bool half_left_ = false;   // it was left, or look() was, for want of memory
  Fence::Epoch epoch_ = loop_.fence().now();
  std::thread thread_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SERVICE_WORKER_H_
