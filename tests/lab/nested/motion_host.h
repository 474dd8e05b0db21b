#ifndef CLONESAFE_TESTS_LAB_NESTED_MOTION_HOST_H_
#define CLONESAFE_TESTS_LAB_NESTED_MOTION_HOST_H_

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "tests/lab/nested/motion_wire.h"

namespace clonesafe::lab {

// The host's end of one guest's vsock streams (guest_motion): takes what comes, says whether each
// record came once and in order, and answers.
class MotionHost {
 public:
  // One of the numbered streams, over all its connections.
  struct Stream {
    int connections = 0;
    std::uint64_t began_after = 0;  // what the guest knew to be acknowledged at the first of them
    std::uint64_t received = 0;     // the last record
  };

  // `vsock` is the path that clonevm was given.
  static Result<std::unique_ptr<MotionHost>> listen(const std::filesystem::path& vsock);
  virtual ~MotionHost() = default;

  virtual std::array<Stream, kStreams> streams() const = 0;
  // What must not have been, a line each.
  virtual std::vector<std::string> wrong() const = 0;
};

// Takes the guest's datagrams at the host's end of a network.
class DatagramSink {
 public:
  static Result<DatagramSink> open(const std::string& network_namespace);
  // The numbers that came since the last call.
  std::vector<std::uint64_t> numbers() const;

 private:
  explicit DatagramSink(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
};

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_MOTION_HOST_H_
