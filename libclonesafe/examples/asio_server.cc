// A Boost.Asio server that renews itself when it was cloned or restored: it drops the sessions that
// it inherited without a word to their clients, who are the source's, and names itself anew. It
// prints its port, and tells each client its name.
//
//   c++ -std=c++17 asio_server.cc $(pkg-config --cflags --libs clonesafe) -pthread -o asio_server
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <clonesafe/asio.hpp>
#include <clonesafe/hooks.hpp>
#include <clonesafe/values.hpp>
#include <exception>
#include <iostream>
#include <list>
#include <memory>
#include <string>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(tcp::socket socket) : socket_(std::move(socket)) {}

  // Answers each line with the server's name.
  void serve() {
    asio::async_read_until(socket_, input_, '\n',
                           [self = shared_from_this()](error_code error, std::size_t length) {
                             if (error) return;
                             self->input_.consume(length);
                             self->answer();
                           });
  }
  // Closes without a word. On a network, hold it or have a filter drop what the kernel says.
  void drop() {
    error_code ignored;
    (void)socket_.close(ignored);
  }

 private:
  void answer() {
    output_ = clonesafe::instance_id().to_string() + "\n";
    asio::async_write(socket_, asio::buffer(output_),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (!error) self->serve();
                      });
  }

  tcp::socket socket_;
  asio::streambuf input_;
  std::string output_;
};

class Server {
 public:
  explicit Server(asio::io_context& io)
      : acceptor_(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)), changes_(io) {
    std::cout << acceptor_.local_endpoint().port() << "\n" << std::flush;
    accept();
    renew_on_change();
  }

 private:
  void accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (error) return;
      const auto session = std::make_shared<Session>(std::move(socket));
      sessions_.remove_if([](const auto& one) { return one.expired(); });
      sessions_.push_back(session);
      session->serve();
      accept();
    });
  }
  void renew_on_change() {
    changes_.async_wait_for_change([this](error_code error, clonesafe::Change change) {
      if (error) return;
      if ((change.changes & CS_CHANGED_GENERATION) != 0) {
        for (const auto& one : sessions_) {
          if (const auto session = one.lock()) session->drop();
        }
        sessions_.clear();
      }
      renew_on_change();
    });
  }

  tcp::acceptor acceptor_;
  clonesafe::ChangeNotifier changes_;
  std::list<std::weak_ptr<Session>> sessions_;
};

}  // namespace

int main() try {
  asio::io_context io;
  Server server(io);
  const clonesafe::Watch watch;  // the thread that looks, or hears of it from clonesafed
  io.run();
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
