#ifndef CLONESAFE_TESTS_LAB_NESTED_HOST_NETWORK_H_
#define CLONESAFE_TESTS_LAB_NESTED_HOST_NETWORK_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "tests/lab/nested/process.h"

namespace clonesafe::lab {

// What a guest sent, as a capture on its tap has it.
struct Captured {
  std::optional<std::uint64_t> number;  // of the numbered stream
  bool announces = false;               // an address, to all (gratuitous ARP)
  std::string mac;                      // who sent it
  std::string ip;                       // as whom: IPv4's source, ARP's sender; else empty
  std::string frame;                    // all of it
};

// The network of one guest: a network namespace with a tap, at whose host's end is a server. Every
// guest's has the same addresses. Gone with the object.
class HostNetwork {
 public:
  static constexpr const char* kTap = "vm0";
  static constexpr const char* kHost = "10.0.0.1";
  static constexpr const char* kGuest = "10.0.0.2";
  static constexpr const char* kHostMac = "02:00:00:00:aa:01";
  // A guest's shell command that puts it there: the driver, an address, and a neighbour that needs
  // no question.
  static const std::string kGuestUp;
  static constexpr int kStreamPort = 9000;
  static constexpr int kUploadPort = 9001;

  // A failure of the test, and nothing, if it can't be made. Its server has `files`.
  static std::optional<HostNetwork> make(const std::string& name,
                                         const std::filesystem::path& files);
  // Without a server and without a capture.
  static std::optional<HostNetwork> make_bare(const std::string& name);

  HostNetwork(HostNetwork&& other) noexcept;
  HostNetwork& operator=(HostNetwork&&) = delete;
  ~HostNetwork();

  const std::string& name() const { return name_; }
  // What came from the guest since the last call.
  std::vector<Captured> captured() const;
  // What a program in the guest sends to kUploadPort, `size` bytes of it: first listens, then runs
  // `send`, then receives.
  Result<std::string> upload(std::size_t size, const std::function<void()>& send) const;

 private:
  explicit HostNetwork(std::string name) : name_(std::move(name)) {}
  Status set_up_tap() const;
  Status set_up_ends(const std::filesystem::path& files);
  static std::optional<HostNetwork> made(HostNetwork network, const Status& status);
  std::string name_;
  UniqueFd capture_;
  UniqueFd sink_;  // takes the stream, so that nobody answers that nobody does
  std::optional<Process> server_;
};

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_HOST_NETWORK_H_
