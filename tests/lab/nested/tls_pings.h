#ifndef CLONESAFE_TESTS_LAB_NESTED_TLS_PINGS_H_
#define CLONESAFE_TESTS_LAB_NESTED_TLS_PINGS_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::lab {

// A server with TLS that answers "PING x" of Redis' protocol, and nothing else, on port kPort of a
// network namespace. Remembers who connected. Gone with the object.
class TlsPings {
 public:
  static constexpr int kPort = 9443;

  struct Client {
    std::uint16_t port = 0;
    std::string random;  // of its hello
    std::uint64_t pings = 0;
  };

  // `certificate` is of a file without ".pem" and ".key".
  static Result<std::unique_ptr<TlsPings>> start(const std::string& network_namespace,
                                                 const std::filesystem::path& certificate);
  ~TlsPings();

  std::vector<Client> clients() const;

 private:
  TlsPings() = default;
  void accept_all();
  void serve(UniqueFd socket, std::size_t index);

  UniqueFd listener_;
  void* context_ = nullptr;  // SSL_CTX
  mutable std::mutex mutex_;
  std::vector<Client> clients_;
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
};

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_TLS_PINGS_H_
