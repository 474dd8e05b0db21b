#include "tests/audit/run/worker_ids.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <set>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::audit {
namespace {

std::string ask(const std::filesystem::path& vsock) {
  const std::string path = vsock.string() + "_" + std::to_string(kWorkerIdPort);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  std::string line;
  for (char byte = 0; ::recv(fd.get(), &byte, 1, 0) == 1;) line.push_back(byte);
  return line;
}

TEST(WorkerIds, EachIsGivenOnceOverAllMachines) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "audit-worker-ids";
  std::filesystem::remove_all(folder);
  {
    WorkerIds ids;
    std::set<std::string> given;
    for (const char* machine : {"1", "2"}) {
      const auto vsock = folder / machine / "vsock.sock";
      const auto early = ids.serve(vsock);
      ASSERT_TRUE(early) << early.error().message();
      EXPECT_FALSE(*early) << "its folder isn't there";
      std::filesystem::create_directories(vsock.parent_path());
      for (int twice = 0; twice < 2; ++twice) {
        const auto served = ids.serve(vsock);
        ASSERT_TRUE(served) << served.error().message();
        EXPECT_TRUE(*served);
      }
      for (int i = 0; i < 3; ++i) given.insert(ask(vsock));
    }
    EXPECT_EQ(given, (std::set<std::string>{"0\n", "1\n", "2\n", "3\n", "4\n", "5\n"}));
    EXPECT_FALSE(ids.serve(folder / std::string(120, 'x') / "vsock.sock").value_or(false));
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace clonesafe::audit
