#ifndef CLONESAFE_TESTS_UNIT_PROXY_FAULTY_SERVER_H_
#define CLONESAFE_TESTS_UNIT_PROXY_FAULTY_SERVER_H_

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "tests/unit/proxy/token_language.h"

namespace clonesafe::proxy {

// A server at kFar that, until it is healed, ends the connection at one request in four, in every
// way in which that can be.
class FaultyServer {
 public:
  FaultyServer(const TokenLanguage& language, unsigned seed, bool bytewise);
  int port() const { return port_; }
  void heal() { healthy_ = true; }
  // How often it did what a request asked for.
  int times(const std::string& token) const;
  int faults() const { return faults_; }

 private:
  void accept_all(const std::stop_token& stop);
  void serve(TokenPeer peer, unsigned seed);
  bool answer(TokenPeer& peer, std::mt19937& random, const std::string& token);
  void note(const std::string& token);

  const TokenLanguage& language_;
  const unsigned seed_;
  const bool bytewise_;
  int port_ = 0;
  UniqueFd listener_;
  std::atomic<bool> healthy_ = false;
  std::atomic<int> faults_ = 0;
  mutable std::mutex mutex_;
  std::map<std::string, int> done_;
  std::jthread accepting_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_FAULTY_SERVER_H_
