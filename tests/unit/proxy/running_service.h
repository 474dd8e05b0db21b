#ifndef CLONESAFE_TESTS_UNIT_PROXY_RUNNING_SERVICE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_RUNNING_SERVICE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
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
    prepare(std::move(config), host, port, std::move(listener));
    worker_->start();
  }
  // The same, but for its thread.
  void prepare(ServiceConfig config, const std::string& host, int port, UniqueFd listener) {
    config.listen = {parse_address("127.0.0.1:1").value()};
    config.upstream.addresses = {parse_address(host + ":" + std::to_string(port)).value()};
    prepare(config, std::move(listener));
  }
  // As it is configured.
  void serve(const ServiceConfig& config, UniqueFd listener) {
    prepare(config, std::move(listener));
    worker_->start();
  }
  // What runs the commands of what is started next.
  void use(std::shared_ptr<const Commands> commands) { commands_ = std::move(commands); }
  Worker* operator->() const { return worker_.get(); }
  // Waits until every session has ended.
  void wait_for_ends() const {
    while (worker_->census().at(0).sessions != 0) std::this_thread::yield();
  }

 private:
  void prepare(const ServiceConfig& config, UniqueFd listener) {
    worker_ = std::make_unique<Worker>();
    Worker::Part part{.parts = std::make_shared<const ServiceParts>(
                          ServiceParts::make(config, commands_).value()),
                      .sockets = {}};
    part.sockets.push_back(std::move(listener));
    std::vector<Worker::Part> parts;
    parts.push_back(std::move(part));
    ASSERT_TRUE(worker_->serve(std::move(parts)));
  }

  std::shared_ptr<const Commands> commands_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_RUNNING_SERVICE_H_
