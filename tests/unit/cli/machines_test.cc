#include "vmm_device/cli/machines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <fstream>

#include "libclonesafe/base/unique_fd.h"
#include "tests/unit/snapshot/fixture.h"

namespace clonesafe::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ControlSockets : public testing::Test {
 protected:
  std::filesystem::path make_socket(const std::string& name) {
    const auto path = temporary_.path() / name;
    std::filesystem::create_directories(path.parent_path());
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.native().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return path;
  }
  snapshot::TemporaryDirectory temporary_;
};

TEST_F(ControlSockets, AreFoundInARunDirectoryAndAboveOne) {
  const auto first = make_socket("run/1/api.sock");
  const auto second = make_socket("run/2/api.sock");
  const auto named = make_socket("vm.api");
  make_socket("run/1/vsock.sock");
  make_socket("run/1/too/deep/api.sock");
  EXPECT_THAT(control_sockets(temporary_.path()), ElementsAre(first, second, named));
  EXPECT_THAT(control_sockets(temporary_.path() / "run"), ElementsAre(first, second));
}

TEST_F(ControlSockets, AreSocketsAndNotWhatIsNamedSo) {
  std::ofstream(temporary_.path() / "file.api");
  const auto socket = make_socket("real/vm.api");
  std::filesystem::create_symlink(socket, temporary_.path() / "link.api");
  EXPECT_THAT(control_sockets(temporary_.path()), ElementsAre(socket));
  EXPECT_THAT(control_sockets(temporary_.path() / "nowhere"), IsEmpty());
}

}  // namespace
}  // namespace clonesafe::cli
