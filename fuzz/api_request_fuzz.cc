// Any bytes from a client of the control socket. Each line is answered by one line of JSON, in
// order, and a line that can't be understood by hanging up.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/machine/api_server.h"

using namespace clonesafe;
namespace json = boost::json;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

struct Server {
  boost::asio::io_context io{1};
  std::string path = "/tmp/api_request_fuzz." + std::to_string(::getpid());
  std::size_t handled = 0;
  std::unique_ptr<ApiServer> server;

  Server() {
    ::unlink(path.c_str());
    auto made =
        ApiServer::create(io, path, [this](const ApiRequest&, const ApiServer::Reply& reply) {
          ++handled;
          reply(json::object{{"ok", true}}, {});
        });
    require(made.has_value());
    server = std::move(*made);
  }
  void turn() {
    io.restart();
    io.poll();
  }
};

UniqueFd connect_to(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  require(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

// Each answer is a whole line of JSON that says whether the call was done.
std::size_t count_answers(const UniqueFd& client) {
  std::string answers;
  char block[4096];
  for (ssize_t size; (size = ::recv(client.get(), block, sizeof block, 0)) > 0;)
    answers.append(block, static_cast<std::size_t>(size));
  std::size_t done = 0;
  for (std::size_t end; (end = answers.find('\n')) != std::string::npos;) {
    const auto answer = json::parse(answers.substr(0, end)).as_object();
    if (answer.at("ok").as_bool()) ++done;
    answers.erase(0, end + 1);
  }
  require(answers.empty());
  return done;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Server server;
  constexpr std::size_t kEnough = 600;  // in pieces of one byte it is slow
  if (size == 0 || size > kEnough) return 0;
  // The first byte says in what pieces the bytes arrive.
  const std::size_t piece = std::size_t{data[0]} + 1;
  const UniqueFd client = connect_to(server.path);
  server.turn();
  const std::size_t before = server.handled;
  std::size_t answered = 0;
  for (std::size_t at = 1; at < size; at += piece) {
    const std::size_t length = std::min(piece, size - at);
    if (::send(client.get(), data + at, length, MSG_NOSIGNAL) < 0) break;
    server.turn();
    answered += count_answers(client);
  }
  require(answered == server.handled - before);
  ::shutdown(client.get(), SHUT_RDWR);
  server.turn();
  return 0;
}
