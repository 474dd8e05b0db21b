#ifndef CLONESAFE_VMM_DEVICE_MACHINE_API_SERVER_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_API_SERVER_H_

#include <boost/json/fwd.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/machine/api_request.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe {

// The control socket of a machine: JSON objects, one a line, each answered by one line
// (docs/protocols/api.md). Works on the io_context's thread; knows nothing of what the calls mean.
class ApiServer {
 public:
  // Called once for each request; another request of the same client waits until then. `sent`, if
  // not empty, is called when the reply has been handed over, or can't be.
  using Sent = std::function<void()>;
  // A reply's `files` go with its first byte (SCM_RIGHTS).
  class Reply {
   public:
    using Send = std::function<void(const boost::json::object& reply, Sent sent, ApiFiles files)>;
    Reply() = default;
    explicit Reply(Send send) : send_(std::move(send)) {}
    void operator()(const boost::json::object& reply, Sent sent, ApiFiles files = {}) const {
      send_(reply, std::move(sent), std::move(files));
    }

   private:
    Send send_;
  };
  using Handler = std::function<void(ApiRequest request, Reply reply)>;
  // More clients than that are told so and hung up on.
  static constexpr std::size_t kMaxClients = 32;

  // Makes the socket, for the owner only. Refuses a path that exists.
  static Result<std::unique_ptr<ApiServer>> create(boost::asio::io_context& io,
                                                   const std::filesystem::path& path,
                                                   Handler handler);
  // Removes the socket.
  ~ApiServer();

 private:
  class Impl;
  explicit ApiServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

// The client's end: one call, one answer. Refuses an answer that says that the call failed.
struct ApiCallOptions {
  std::vector<int> files = {};  // go along as file descriptors (ApiRequest::files)
  // Called about four times a second until the answer comes.
  std::function<void()> waiting = {};
  // For the answer; 0: any time.
  std::chrono::milliseconds timeout{0};
  std::size_t longest_answer = kApiLineMax;  // with its newline
  ApiFiles* received = nullptr;              // gets the descriptors that come with the answer
};
Result<boost::json::object> call_api(const std::filesystem::path& path,
                                     const boost::json::object& request,
                                     const ApiCallOptions& options = {});

// The call `stop`, and that the machine's process is gone when this returns: it is killed if it
// hasn't ended after `patience`, which is an error.
Status stop_machine(const std::filesystem::path& path, std::chrono::milliseconds patience);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_API_SERVER_H_
