#ifndef CLONESAFE_VMM_DEVICE_MACHINE_API_SERVER_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_API_SERVER_H_

#include <boost/json/fwd.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

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
  using Files = std::vector<UniqueFd>;
  // A reply's `files` go with its first byte (SCM_RIGHTS).
  class Reply {
   public:
    using Send = std::function<void(const boost::json::object& reply, Sent sent, Files files)>;
    Reply() = default;
    explicit Reply(Send send) : send_(std::move(send)) {}
    void operator()(const boost::json::object& reply, Sent sent, Files files = {}) const {
      send_(reply, std::move(sent), std::move(files));
    }

   private:
    Send send_;
  };
  using Handler = std::function<void(const boost::json::object& request, Reply reply)>;

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

// The client's end: one call, one answer. `files`, if given, gets the descriptors that come with
// it. Refuses an answer that says that the call failed.
Result<boost::json::object> call_api(const std::filesystem::path& path,
                                     const boost::json::object& request,
                                     ApiServer::Files* files = nullptr);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_API_SERVER_H_
