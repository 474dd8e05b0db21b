#ifndef CLONESAFE_TESTS_LAB_NESTED_SERVICES_H_
#define CLONESAFE_TESTS_LAB_NESTED_SERVICES_H_

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "libclonesafe/base/error.h"
#include "tests/lab/nested/process.h"

namespace clonesafe::lab {

// PostgreSQL, Redis and nginx on the host's loopback interface, of what services/prepare.sh made.
// They end with the object.
class Services {
 public:
  static constexpr int kPostgres = 5432, kRedis = 6379, kRedisTls = 6380, kHttps = 8443;
  // The name in their certificate.
  static constexpr const char* kName = "services.test";

  // A failure of the test, and null, if one does not come to serve.
  static std::unique_ptr<Services> start(const std::filesystem::path& folder);

  // Asks PostgreSQL as its owner; a row a line, without a newline at the end.
  static std::string sql(const std::string& text);
  static std::string redis(const std::vector<std::string>& command);
  static std::string certificate();

 private:
  Services() = default;
  Status start_one(const std::string& name, std::vector<std::string> command);

  std::vector<Process> servers_;
};

// Carries connections from an address that guests reach, in a network namespace of theirs, to the
// same ports of this namespace's loopback interface. Gone with the object.
class Relay {
 public:
  static Result<std::unique_ptr<Relay>> start(const std::string& network_namespace,
                                              const std::vector<int>& ports);
  ~Relay();

 private:
  Relay() = default;
  boost::asio::io_context io_{1};
  std::thread thread_;
};

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_SERVICES_H_
