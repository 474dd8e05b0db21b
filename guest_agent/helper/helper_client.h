#ifndef CLONESAFE_GUEST_AGENT_HELPER_HELPER_CLIENT_H_
#define CLONESAFE_GUEST_AGENT_HELPER_HELPER_CLIENT_H_

#include <functional>
#include <memory>
#include <vector>

#include "guest_agent/helper/messages.h"
#include "libclonesafe/base/unique_fd.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::agent {

// The agent's end of its helper process. Single-threaded.
class HelperClient {
 public:
  using Done = std::function<void(std::vector<RepairResult>)>;

  HelperClient(boost::asio::io_context& io, UniqueFd socket);
  ~HelperClient();

  // Calls `done` with all results, unless it is cancelled first; one thing at a time. A helper that
  // is gone is a result that says so.
  void run(const HelperTask& what, Done done);
  void cancel();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HELPER_HELPER_CLIENT_H_
