#ifndef CLONESAFE_TESTS_UNIT_PROXY_RUNNING_SERVICE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_RUNNING_SERVICE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "proxy/service/worker.h"

namespace clonesafe::proxy {

// A service of a proxy, on a thread of its own.
class RunningService {
 public:
  // In front of `host`; ends the one that was there. `listener` is where it listens, whatever the
  // configuration says.
  void start(ServiceConfig config, const std::string& host, int port, UniqueFd listener) {
    config.listen = {parse_address("127.0.0.1:1").value()};
    config.upstream.addresses = {parse_address(host + ":" + std::to_string(port)).value()};
    worker_.reset();
    parts_.clear();
    parts_.push_back(ServiceParts::make(config).value());
    worker_ = std::make_unique<Worker>(parts_);
    std::vector<UniqueFd> sockets;
    sockets.push_back(std::move(listener));
    ASSERT_TRUE(worker_->service(0).listen(std::move(sockets)));
    worker_->start();
  }
  Worker* operator->() const { return worker_.get(); }

 private:
  std::vector<ServiceParts> parts_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_RUNNING_SERVICE_H_
