#include "vmm_device/machine/api_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>

namespace clonesafe {
namespace asio = boost::asio;
namespace json = boost::json;
namespace {

using Protocol = asio::local::stream_protocol;
constexpr std::size_t kLineMax = 65536;
constexpr std::size_t kMaxDepth = 8;

json::object failure(const std::string& why) {
  return {{"ok", false}, {"error", why}};
}

Result<json::object> parse_line(std::string_view line) {
  json::parse_options options;
  options.max_depth = kMaxDepth;
  boost::system::error_code error;
  json::value value = json::parse(json::string_view(line.data(), line.size()), error, {}, options);
  if (error) return fail("not JSON: " + error.message());
  if (!value.is_object()) return fail("not a JSON object");
  return value.as_object();
}

// sockaddr_un holds 107 bytes; Asio would throw.
Result<Protocol::endpoint> endpoint_of(const std::filesystem::path& path) {
  if (path.native().size() > 107)
    return fail("control socket " + path.string() + ": the path has more than 107 bytes");
  return Protocol::endpoint(path.native());
}

// Room for the control message of this many descriptors.
constexpr std::size_t kMaxFiles = 4;
union FilesMessage {
  cmsghdr header;  // for its alignment
  char bytes[CMSG_SPACE(kMaxFiles * sizeof(int))];
};

ssize_t send_with_files(int socket, char byte, const ApiServer::Files& files) {
  FilesMessage control{};
  iovec data{.iov_base = &byte, .iov_len = 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
  for (std::size_t i = 0; i < files.size(); ++i) {
    const int fd = files[i].get();
    std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// One read; descriptors that come with it are kept.
ssize_t receive_with_files(int socket, std::span<char> to, ApiServer::Files& files) {
  FilesMessage control{};
  iovec data{.iov_base = to.data(), .iov_len = to.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (got < 0) return got;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; CMSG_LEN(at + sizeof(int)) <= header->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
      files.emplace_back(fd);
    }
  }
  return got;
}

// A line, and the descriptors on the way. The error code is the system's; EOF is eof.
boost::system::error_code read_line(int socket, std::string& line, ApiServer::Files& files) {
  char chunk[4096];
  while (line.find('\n') == std::string::npos) {
    if (line.size() > kLineMax) return asio::error::not_found;
    const ssize_t got = receive_with_files(socket, chunk, files);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {errno, boost::system::system_category()};
    if (got == 0) return asio::error::eof;
    line.append(chunk, static_cast<std::size_t>(got));
  }
  return {};
}

class Client : public std::enable_shared_from_this<Client> {
 public:
  Client(Protocol::socket socket, const ApiServer::Handler& handler)
      : socket_(std::move(socket)), handler_(handler) {}

  void read() {
    asio::async_read_until(
        socket_, asio::dynamic_buffer(input_, kLineMax), '\n',
        [self = shared_from_this()](boost::system::error_code error, std::size_t size) {
          self->received(error, size);
        });
  }

 private:
  void received(boost::system::error_code error, std::size_t size) {
    if (error == asio::error::not_found) {
      answer(failure("a line of more than " + std::to_string(kLineMax) + " bytes"), {}, false);
      return;
    }
    if (error) return;
    auto request = parse_line(std::string_view(input_).substr(0, size - 1));
    input_.erase(0, size);
    if (!request) {
      answer(failure(request.error().message()), {}, false);
      return;
    }
    handler_(*request, ApiServer::Reply([self = shared_from_this()](const json::object& reply,
                                                                    ApiServer::Sent sent,
                                                                    ApiServer::Files files) {
      self->files_ = std::move(files);
      self->answer(reply, std::move(sent), true);
    }));
  }
  // A client whose line could not be understood is hung up on: what follows it is anyone's guess.
  void answer(const json::object& reply, ApiServer::Sent sent, bool go_on) {
    output_ = json::serialize(reply) + "\n";
    if (!files_.empty()) {
      send_files(std::move(sent), go_on);
      return;
    }
    write(0, std::move(sent), go_on);
  }
  // They go with the first byte; the rest of the line follows as any other.
  void send_files(ApiServer::Sent sent, bool go_on) {
    const ssize_t put = send_with_files(socket_.native_handle(), output_[0], files_);
    if (put < 0 && errno == EAGAIN) {
      socket_.async_wait(Protocol::socket::wait_write,
                         [self = shared_from_this(), sent = std::move(sent),
                          go_on](boost::system::error_code error) mutable {
                           if (!error) return self->send_files(std::move(sent), go_on);
                           self->files_.clear();
                           if (sent) sent();
                         });
      return;
    }
    files_.clear();
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
  std::string input_;
  std::string output_;
  ApiServer::Files files_;
};

}  // namespace

class ApiServer::Impl : public std::enable_shared_from_this<ApiServer::Impl> {
 public:
  Impl(asio::io_context& io, std::filesystem::path path, Handler handler)
      : path_(std::move(path)), handler_(std::move(handler)), acceptor_(io) {}

  Status listen() {
    auto endpoint = endpoint_of(path_);
    if (!endpoint) return fail(endpoint.error());
    boost::system::error_code error;
    acceptor_.open(Protocol(), error);
    const mode_t before = ::umask(0177);
    if (!error) acceptor_.bind(*endpoint, error);
    ::umask(before);
    if (!error) {
      bound_ = true;
      acceptor_.listen(Protocol::socket::max_listen_connections, error);
    }
    if (error) return fail("control socket " + path_.string() + ": " + error.message());
    accept();
    return {};
  }
  void close() {
    boost::system::error_code ignored;
    (void)acceptor_.close(ignored);
    if (bound_) ::unlink(path_.c_str());
    bound_ = false;
  }

 private:
  void accept() {
    acceptor_.async_accept(
        [self = shared_from_this()](boost::system::error_code error, Protocol::socket socket) {
          if (error == asio::error::operation_aborted) return;
          if (!error) std::make_shared<Client>(std::move(socket), self->handler_)->read();
          self->accept();
        });
  }

  const std::filesystem::path path_;
  const Handler handler_;
  Protocol::acceptor acceptor_;
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

Result<json::object> call_api(const std::filesystem::path& path, const json::object& request,
                              ApiServer::Files* files) {
  auto endpoint = endpoint_of(path);
  if (!endpoint) return fail(endpoint.error());
  asio::io_context io;
  Protocol::socket socket(io);
  boost::system::error_code error;
  socket.connect(*endpoint, error);
  if (error) return fail("control socket " + path.string() + ": " + error.message());
  asio::write(socket, asio::buffer(json::serialize(request) + "\n"), error);
  std::string input;
  ApiServer::Files received;
  if (!error) error = read_line(socket.native_handle(), input, received);
  if (error == asio::error::eof)
    return fail("control socket " + path.string() + ": the machine ended before it answered");
  if (error) return fail("control socket " + path.string() + ": " + error.message());
  auto reply = parse_line(std::string_view(input).substr(0, input.find('\n')));
  if (!reply) return fail(reply.error(), "control socket " + path.string());
  if (files != nullptr) *files = std::move(received);
  const json::value* ok = reply->if_contains("ok");
  if (ok != nullptr && ok->is_bool() && ok->get_bool()) return reply;
  const json::value* why = reply->if_contains("error");
  return fail(why != nullptr && why->is_string() ? std::string(why->get_string())
                                                 : "the machine refused without a reason");
}

}  // namespace clonesafe
