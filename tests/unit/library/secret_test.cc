// Secret memory with a scripted agent, and without one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "clonesafe/abi/secret_page.h"
#include "clonesafe/clonesafe.hpp"
#include "libclonesafe/base/unique_fd.h"

namespace {

using clonesafe::UniqueFd;

constexpr const char* kGranted = "{\"secret\":{\"size\":4096}}\n";

UniqueFd make_page(off_t size = 4096, std::uint64_t magic = CLONESAFE_SECRET_PAGE_MAGIC) {
  UniqueFd file(::memfd_create("secret", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), size), 0);
  EXPECT_EQ(::pwrite(file.get(), &magic, sizeof magic, 0), static_cast<ssize_t>(sizeof magic));
  return file;
}

class SecretTest : public testing::Test {
 protected:
  SecretTest() {
    std::string pattern = testing::TempDir() + "clonesafe-secret-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    path_ = folder_ + "/agent.sock";
    ::setenv("CLONESAFE_AGENT_SOCKET", path_.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  }
  ~SecretTest() override {
    if (agent_.joinable()) agent_.join();
    ::unsetenv("CLONESAFE_AGENT_SOCKET");  // NOLINT(concurrency-mt-unsafe)
    ::unlink(path_.c_str());
    ::rmdir(folder_.c_str());
  }

  // Answers one request with these pieces; the file goes with the first.
  void serve(std::vector<std::string> pieces, int file = -1) {
    UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    agent_ = std::thread([this, listener = std::move(listener), pieces = std::move(pieces), file] {
      const UniqueFd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      char text[256] = {};
      request_.assign(text, static_cast<std::size_t>(
                                std::max<ssize_t>(0, ::read(client.get(), text, sizeof text))));
      for (std::size_t i = 0; i < pieces.size(); ++i)
        say(client.get(), pieces[i], i == 0 ? file : -1);
    });
  }
  static void say(int socket, const std::string& text, int file) {
    iovec part = {.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (file >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof file);
      std::memcpy(CMSG_DATA(header), &file, sizeof file);
    }
    EXPECT_EQ(::sendmsg(socket, &message, MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // The code of one that must fail and give nothing.
  static int refused(unsigned flags = 0) {
    void* memory = &memory;
    const int result = cs_secret_alloc(32, flags, &memory);
    EXPECT_EQ(memory, nullptr);
    return result;
  }

  std::string folder_;
  std::string path_;
  std::string request_;
  std::thread agent_;
};

bool is_zero(const unsigned char* memory) {
  return std::all_of(memory, memory + CS_SECRET_MAX, [](unsigned char byte) { return byte == 0; });
}

TEST_F(SecretTest, MemoryIsThePageThatTheAgentGave) {
  const UniqueFd page = make_page();
  serve({kGranted}, page.get());
  void* memory = nullptr;
  ASSERT_EQ(cs_secret_alloc(CS_SECRET_MAX, 0, &memory), 0);
  agent_.join();
  EXPECT_EQ(request_, "{\"command\":\"allocate_secret\"}\n");
  EXPECT_EQ(cs_secret_covered(memory), 1);
  EXPECT_TRUE(is_zero(static_cast<unsigned char*>(memory)));
  std::memset(memory, 0x5a, CS_SECRET_MAX);
  char byte = 0;
  ASSERT_EQ(::pread(page.get(), &byte, 1, 4095), 1);
  EXPECT_EQ(byte, 0x5a);
  cs_secret_free(memory);
  ASSERT_EQ(::pread(page.get(), &byte, 1, 4095), 1);
  EXPECT_EQ(byte, 0) << "erased before it is given back";
  std::uint64_t magic = 0;
  ASSERT_EQ(::pread(page.get(), &magic, sizeof magic, 0), static_cast<ssize_t>(sizeof magic));
  EXPECT_EQ(magic, CLONESAFE_SECRET_PAGE_MAGIC) << "by which the VMM knows it until it is told";
}

TEST_F(SecretTest, AnswerMayComeInPieces) {
  const UniqueFd page = make_page();
  serve({"{\"secret\":", "{\"size\":4096}", "}\n"}, page.get());
  const clonesafe::SecretMemory secret(100);
  EXPECT_TRUE(secret.covered());
  EXPECT_EQ(secret.size(), 100u);
}

TEST_F(SecretTest, WithoutAnAgentItFailsClosed) {
  EXPECT_EQ(refused(), CS_E_NOT_COVERED);
  EXPECT_THROW(clonesafe::SecretMemory(32), clonesafe::LibraryError);
}

TEST_F(SecretTest, RefusalOfTheAgentIsTheCallers) {
  serve({"{\"error\":\"no host is connected\",\"code\":\"not_covered\"}\n"});
  EXPECT_EQ(refused(), CS_E_NOT_COVERED);
}

TEST_F(SecretTest, LimitIsToldApart) {
  serve({"{\"error\":\"this user has 64 secret pages\",\"code\":\"limit\"}\n"});
  EXPECT_EQ(refused(), CS_E_LIMIT);
}

TEST_F(SecretTest, AgentOfAnOlderVersionIsARefusal) {
  serve({"{\"error\":\"unknown command (status)\"}\n"});
  EXPECT_EQ(refused(), CS_E_NOT_COVERED);
}

TEST_F(SecretTest, AnswerWithoutAnEndIsARefusal) {
  serve({std::string(2000, 'x')});
  EXPECT_EQ(refused(), CS_E_NOT_COVERED);
}

TEST_F(SecretTest, AgentThatHangsUpIsARefusal) {
  const UniqueFd page = make_page();
  serve({"{\"secret\":"}, page.get());
  EXPECT_EQ(refused(), CS_E_NOT_COVERED);
}

TEST_F(SecretTest, FileThatIsNoSecretPageIsARefusal) {
  const UniqueFd page = make_page(4096, 7);
  serve({kGranted}, page.get());
  EXPECT_EQ(refused(), CS_E_NOT_COVERED);
}

TEST_F(SecretTest, FileThatIsTooShortIsARefusal) {
  const UniqueFd page = make_page(100);
  serve({kGranted}, page.get());
  EXPECT_EQ(refused(), CS_E_NOT_COVERED);
}

TEST_F(SecretTest, UncoveredMemoryMustBeAskedForAndSaysSo) {
  void* memory = nullptr;
  ASSERT_EQ(cs_secret_alloc(32, CS_SECRET_ALLOW_UNCOVERED, &memory), 0);
  EXPECT_EQ(cs_secret_covered(memory), 0);
  EXPECT_TRUE(is_zero(static_cast<unsigned char*>(memory)));
  cs_secret_free(memory);
}

TEST_F(SecretTest, ArgumentsAreChecked) {
  void* memory = nullptr;
  EXPECT_EQ(cs_secret_alloc(0, CS_SECRET_ALLOW_UNCOVERED, &memory), CS_E_INVALID);
  EXPECT_EQ(cs_secret_alloc(CS_SECRET_MAX + 1, CS_SECRET_ALLOW_UNCOVERED, &memory), CS_E_INVALID);
  EXPECT_EQ(cs_secret_alloc(32, 2, &memory), CS_E_INVALID);
  EXPECT_EQ(cs_secret_alloc(32, 0, nullptr), CS_E_INVALID);
  cs_secret_free(nullptr);
  int other = 0;
  EXPECT_EQ(cs_secret_covered(&other), CS_E_INVALID);
  EXPECT_EQ(cs_secret_covered(nullptr), CS_E_INVALID);
}

std::string flags_of_mapping(const void* memory) {
  std::ifstream smaps("/proc/self/smaps");
  char start[32];
  std::snprintf(start, sizeof start, "%lx-", reinterpret_cast<unsigned long>(memory) & ~0xffful);
  bool found = false;
  for (std::string line; std::getline(smaps, line);) {
    if (line.starts_with(start)) found = true;
    if (found && line.starts_with("VmFlags:")) return line + " ";
  }
  return "";
}

TEST_F(SecretTest, IsInNoCoreDumpAndNoChild) {
  const UniqueFd page = make_page();
  serve({kGranted}, page.get());
  const clonesafe::SecretMemory covered(32);
  const clonesafe::SecretMemory plain(32, CS_SECRET_ALLOW_UNCOVERED);
  for (const auto* secret : {&covered, &plain}) {
    const std::string flags = flags_of_mapping(secret->data());
    EXPECT_NE(flags.find(" dd "), std::string::npos) << flags;
    EXPECT_NE(flags.find(" dc "), std::string::npos) << flags;
    const pid_t child = ::fork();
    if (child == 0) {
      // Not mapped: the kernel can't read from it either. ThreadSanitizer, which looks after _exit
      // as well, would miss the server's thread, which the child doesn't have.
      int ends[2] = {};
      const bool piped = ::pipe(ends) == 0;
      const bool kept_out = piped && ::write(ends[1], secret->data(), 1) < 0 && errno == EFAULT;
      ::syscall(SYS_exit_group, kept_out ? 0 : piped ? 1 : 2);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

}  // namespace
