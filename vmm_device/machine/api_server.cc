#include "vmm_device/machine/api_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
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
    handler_(*request,
             [self = shared_from_this()](const json::object& reply, ApiServer::Sent sent) {
               self->answer(reply, std::move(sent), true);
             });
  }
  // A client whose line could not be understood is hung up on: what follows it is anyone's guess.
  void answer(const json::object& reply, ApiServer::Sent sent, bool go_on) {
    output_ = json::serialize(reply) + "\n";
    asio::async_write(socket_, asio::buffer(output_),
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

Result<json::object> call_api(const std::filesystem::path& path, const json::object& request) {
  auto endpoint = endpoint_of(path);
  if (!endpoint) return fail(endpoint.error());
  asio::io_context io;
  Protocol::socket socket(io);
  boost::system::error_code error;
  socket.connect(*endpoint, error);
  if (error) return fail("control socket " + path.string() + ": " + error.message());
  asio::write(socket, asio::buffer(json::serialize(request) + "\n"), error);
  std::string input;
  if (!error) asio::read_until(socket, asio::dynamic_buffer(input, kLineMax), '\n', error);
  if (error == asio::error::eof)
    return fail("control socket " + path.string() + ": the machine ended before it answered");
  if (error) return fail("control socket " + path.string() + ": " + error.message());
  auto reply = parse_line(std::string_view(input).substr(0, input.find('\n')));
  if (!reply) return fail(reply.error(), "control socket " + path.string());
  const json::value* ok = reply->if_contains("ok");
  if (ok != nullptr && ok->is_bool() && ok->get_bool()) return reply;
  const json::value* why = reply->if_contains("error");
  return fail(why != nullptr && why->is_string() ? std::string(why->get_string())
                                                 : "the machine refused without a reason");
}

}  // namespace clonesafe
