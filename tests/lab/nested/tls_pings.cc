#include "tests/lab/nested/tls_pings.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>

#include "vmm_device/net/namespace.h"

namespace clonesafe::lab {

Result<std::unique_ptr<TlsPings>> TlsPings::start(const std::string& network_namespace,
                                                  const std::filesystem::path& certificate) {
  std::unique_ptr<TlsPings> server(new TlsPings);
  SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
  server->context_ = context;
  if (context == nullptr ||
      SSL_CTX_use_certificate_chain_file(context, (certificate.string() + ".pem").c_str()) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, (certificate.string() + ".key").c_str(),
                                  SSL_FILETYPE_PEM) != 1)
    return fail(certificate.string() + ": no certificate and key");
  const auto inside = network::InNamespace::enter(network_namespace);
  if (!inside) return fail(inside.error());
  server->listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  if (::bind(server->listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(server->listener_.get(), 16) != 0)
    return fail_errno("port " + std::to_string(kPort));
  server->threads_.emplace_back([raw = server.get()] { raw->accept_all(); });
  return server;
}

TlsPings::~TlsPings() {
  // What waits in these ends with an error.
  if (listener_) ::shutdown(listener_.get(), SHUT_RDWR);
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
  // Nobody is accepted any more; who was, in the meantime, goes too.
  {
    const std::lock_guard lock(mutex_);
    for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
  SSL_CTX_free(static_cast<SSL_CTX*>(context_));
}

std::vector<TlsPings::Client> TlsPings::clients() const {
  const std::lock_guard lock(mutex_);
  return clients_;
}

void TlsPings::accept_all() {
  for (;;) {
    sockaddr_in from{};
    socklen_t size = sizeof from;
    UniqueFd socket(
        ::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC));
    if (!socket) return;
    const std::lock_guard lock(mutex_);
    clients_.push_back({.port = ntohs(from.sin_port), .random = {}});
    sockets_.push_back(socket.get());
    threads_.emplace_back([this, index = clients_.size() - 1, fd = std::move(socket)]() mutable {
      serve(std::move(fd), index);
    });
  }
}

void TlsPings::serve(UniqueFd socket, std::size_t index) {
  // A client that is gone is an error of SSL_write(), not the end of the whole test.
  sigset_t broken_pipe;
  ::sigemptyset(&broken_pipe);
  ::sigaddset(&broken_pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
  SSL* const ssl = SSL_new(static_cast<SSL_CTX*>(context_));
  SSL_set_fd(ssl, socket.get());
  std::string rest;
  if (SSL_accept(ssl) == 1) {
    std::string random(SSL3_RANDOM_SIZE, '\0');
    SSL_get_client_random(ssl, reinterpret_cast<unsigned char*>(random.data()), random.size());
    {
      const std::lock_guard lock(mutex_);
      clients_[index].random = random;
    }
    std::string piece(4096, '\0');
    for (int got = 0; (got = SSL_read(ssl, piece.data(), static_cast<int>(piece.size()))) > 0;) {
      rest.append(piece, 0, static_cast<std::size_t>(got));
      for (std::size_t end = 0; (end = rest.find("\r\n")) != std::string::npos;) {
        const std::string line = rest.substr(0, end);
        rest.erase(0, end + 2);
        const std::string word = line.starts_with("PING ") ? line.substr(5) : "?";
        const std::string reply = "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
        if (SSL_write(ssl, reply.data(), static_cast<int>(reply.size())) <= 0) break;
        const std::lock_guard lock(mutex_);
        ++clients_[index].pings;
      }
    }
  }
  SSL_free(ssl);
  const std::lock_guard lock(mutex_);
  std::erase(sockets_, socket.get());
}

}  // namespace clonesafe::lab
