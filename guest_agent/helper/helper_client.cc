#include "guest_agent/helper/helper_client.h"

#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <utility>

#include "guest_agent/base/log.h"

namespace clonesafe::agent {

namespace asio = boost::asio;
using boost::system::error_code;

class HelperClient::Impl : public std::enable_shared_from_this<HelperClient::Impl> {
 public:
  Impl(asio::io_context& io, UniqueFd socket) : socket_(io, socket.release()) {}

  void run(const HelperTask& what, Done done) {
    cancel();
    done_ = std::move(done);
    ++id_;
    if (!gone_ && send({.id = id_, .what = what})) return wait();
    lost();
  }

  void cancel() {
    if (done_ == nullptr) return;
    done_ = nullptr;
    results_.clear();
    if (!gone_) (void)send({.id = id_, .what = CancelRun()});
  }

  void stop() {
    error_code ignored;  // a destructor calls this
    done_ = nullptr;
    (void)socket_.close(ignored);
  }

 private:
  bool send(const HelperRequest& request) {
    const std::string packet = to_packet(request);
    return ::send(socket_.native_handle(), packet.data(), packet.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(packet.size());
  }

  void wait() {
    if (waiting_) return;
    waiting_ = true;
    socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [self = shared_from_this()](const error_code& error) {
                         self->waiting_ = false;
                         if (!error) self->take();
                       });
  }

  void take() {
    char packet[65536];
    const ssize_t size = ::recv(socket_.native_handle(), packet, sizeof packet, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return wait();
    if (size <= 0) return lost();
    auto answer = parse_helper_answer({packet, static_cast<std::size_t>(size)});
    if (!answer) {
      log_error(answer.error().message());
      return lost();
    }
    // Of a run that was cancelled since: nothing any more.
    if (answer->id == id_ && done_ != nullptr) {
      if (!answer->result) {
        const Done done = std::exchange(done_, nullptr);
        done(std::exchange(results_, {}));
      } else {
        results_.push_back(std::move(*answer->result));
      }
    }
    if (done_ != nullptr) wait();
  }

  void lost() {
    if (!std::exchange(gone_, true))
      log_error("the helper process is gone: no hook can be run, no memory given back");
    if (done_ == nullptr) return;
    results_.push_back({.name = "helper",
                        .outcome = Outcome::kFailed,
                        .detail = "the agent's helper process is gone"});
    const Done done = std::exchange(done_, nullptr);
    done(std::exchange(results_, {}));
  }

  asio::posix::stream_descriptor socket_;
  std::uint64_t id_ = 0;
  bool gone_ = false;
  bool waiting_ = false;
  std::vector<RepairResult> results_;
  Done done_;
};

HelperClient::HelperClient(asio::io_context& io, UniqueFd socket)
    : impl_(std::make_shared<Impl>(io, std::move(socket))) {}
HelperClient::~HelperClient() {
  impl_->stop();
}
void HelperClient::run(const HelperTask& what, Done done) {
  impl_->run(what, std::move(done));
}
void HelperClient::cancel() {
  impl_->cancel();
}

}  // namespace clonesafe::agent
