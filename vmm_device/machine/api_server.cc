#include "vmm_device/machine/api_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <string>
#include <utility>

#include "vmm_device/machine/api_files.h"

namespace clonesafe {
namespace asio = boost::asio;
namespace json = boost::json;
namespace {

using Protocol = asio::local::stream_protocol;
// Out of descriptors: connections wait in the kernel until then.
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

// sockaddr_un holds 107 bytes; Asio would throw.
Result<Protocol::endpoint> endpoint_of(const std::filesystem::path& path) {
  if (path.native().size() > 107)
    return fail("control socket " + path.string() + ": the path has more than 107 bytes");
  return Protocol::endpoint(path.native());
}

// Counted by how many own it.
using Presence = std::shared_ptr<const int>;

class Client : public std::enable_shared_from_this<Client> {
 public:
  Client(Protocol::socket socket, const ApiServer::Handler& handler, Presence presence)
      : socket_(std::move(socket)), handler_(handler), presence_(std::move(presence)) {}

  void read() {
    // Requests that came in one piece.
    if (const auto end = input_.find('\n'); end != std::string::npos) {
      handle(end);
      return;
    }
    if (input_.size() >= kApiLineMax) {
      refuse("a line of more than " + std::to_string(kApiLineMax) + " bytes");
      return;
    }
    socket_.async_wait(Protocol::socket::wait_read,
                       [self = shared_from_this()](boost::system::error_code error) {
                         if (!error) self->receive();
                       });
  }
  void refuse(std::string_view why) { answer(api_failure(why), {}, false); }

 private:
  // By recvmsg: files may come along.
  void receive() {
    char chunk[4096];
    ApiFiles files;
    const ssize_t got =
        receive_with_files(socket_.native_handle(), chunk, files, kApiFilesMax, MSG_DONTWAIT);
    if (got < 0 && errno != EAGAIN && errno != EINTR) return;
    if (got == 0) return;
    if (got > 0) {
      input_.append(chunk, static_cast<std::size_t>(got));
      // A later message's take the place of an earlier one's: never more than one message has.
      if (!files.empty()) files_ = std::move(files);
    }
    read();
  }

  void handle(std::size_t end) {
    auto body = parse_api_line(std::string_view(input_).substr(0, end));
    input_.erase(0, end + 1);
    if (!body) return refuse(body.error().message());
    if (auto known = check_api_version(*body); !known) return refuse(known.error().message());
    handler_({.body = std::move(*body), .files = std::exchange(files_, {})},
             ApiServer::Reply([self = shared_from_this()](const json::object& reply,
                                                          ApiServer::Sent sent, ApiFiles files) {
               self->answered_files_ = std::move(files);
               self->answer(reply, std::move(sent), true);
             }));
  }

  // A client whose line could not be understood is hung up on: what follows it is anyone's guess.
  void answer(const json::object& reply, ApiServer::Sent sent, bool go_on) {
    output_ = json::serialize(reply) + "\n";
    if (answered_files_.empty())
      write(0, std::move(sent), go_on);
    else
      send_files(std::move(sent), go_on);
  }
  // They go with the first byte; the rest of the line follows as any other.
  void send_files(ApiServer::Sent sent, bool go_on) {
    std::vector<int> files;
    for (const UniqueFd& file : answered_files_) files.push_back(file.get());
    const ssize_t put =
        send_with_files(socket_.native_handle(), std::string_view(output_).substr(0, 1), files,
                        kApiReplyFilesMax, MSG_DONTWAIT);
    if (put < 0 && (errno == EAGAIN || errno == EINTR)) {
      socket_.async_wait(Protocol::socket::wait_write,
                         [self = shared_from_this(), sent = std::move(sent),
                          go_on](boost::system::error_code error) mutable {
                           if (!error) return self->send_files(std::move(sent), go_on);
                           self->answered_files_.clear();
                           if (sent) sent();
                         });
      return;
    }
    answered_files_.clear();
    if (put == 1) return write(1, std::move(sent), go_on);
    if (sent) sent();
  }
  void write(std::size_t from, ApiServer::Sent sent, bool go_on) {
    asio::async_write(socket_, asio::buffer(output_.data() + from, output_.size() - from),
                      [self = shared_from_this(), sent = std::move(sent), go_on](
                          boost::system::error_code error, std::size_t) {
                        if (sent) sent();
                        if (!error && go_on) self->read();
                      });
  }

  Protocol::socket socket_;
  ApiServer::Handler handler_;
  Presence presence_;
  std::string input_;
  ApiFiles files_;           // that came with the line that is being received
  ApiFiles answered_files_;  // that go with the answer
  std::string output_;
};

}  // namespace

class ApiServer::Impl : public std::enable_shared_from_this<ApiServer::Impl> {
 public:
  Impl(asio::io_context& io, std::filesystem::path path, Handler handler)
      : path_(std::move(path)), handler_(std::move(handler)), acceptor_(io), pause_(io) {}

  Status listen() {
    auto endpoint = endpoint_of(path_);
    if (!endpoint) return fail(endpoint.error());
    boost::system::error_code error;
    const mode_t before = ::umask(0177);
    bound_ = !acceptor_.open(Protocol(), error) && !acceptor_.bind(*endpoint, error);
    ::umask(before);
    if (!bound_ || acceptor_.listen(Protocol::socket::max_listen_connections, error)) {
      return fail("control socket " + name() + ": " + error.message());
    }
    accept();
    return {};
  }
  void close() {
    boost::system::error_code ignored;  // a destructor calls this
    (void)acceptor_.close(ignored);
    pause_.cancel(ignored);
    if (bound_) ::unlink(path_.c_str());
    bound_ = false;
  }

 private:
  // Whole, for who didn't choose the current directory: it may be the root of a jail to come.
  std::string name() const {
    std::error_code error;
    const auto whole = std::filesystem::absolute(path_, error);
    return error ? path_.string() : whole.string();
  }
  void accept() {
    acceptor_.async_accept(
        [self = shared_from_this()](boost::system::error_code error, Protocol::socket socket) {
          if (error == asio::error::operation_aborted) return;
          if (error) return self->accept_later();
          self->welcome(std::move(socket));
          self->accept();
        });
  }
  void accept_later() {
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (!error) self->accept();
    });
  }
  void welcome(Protocol::socket socket) {
    // One owner is presence_ itself, one is the new client.
    const auto client = std::make_shared<Client>(std::move(socket), handler_, presence_);
    if (static_cast<std::size_t>(presence_.use_count()) - 1 > kMaxClients)
      client->refuse("more than " + std::to_string(kMaxClients) + " clients");
    else
      client->read();
  }

  const std::filesystem::path path_;
  const Handler handler_;
  const Presence presence_ = std::make_shared<const int>(0);
  Protocol::acceptor acceptor_;
  asio::steady_timer pause_;
  bool bound_ = false;
};

Result<std::unique_ptr<ApiServer>> ApiServer::create(asio::io_context& io,
                                                     const std::filesystem::path& path,
                                                     Handler handler) {
  auto impl = std::make_shared<Impl>(io, path, std::move(handler));
  if (auto listening = impl->listen(); !listening) {
    impl->close();
    return fail(listening.error());
  }
  return std::unique_ptr<ApiServer>(new ApiServer(std::move(impl)));
}

ApiServer::~ApiServer() {
  impl_->close();
}

}  // namespace clonesafe
