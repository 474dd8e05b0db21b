#include "vmm_device/machine/api_server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <thread>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using testing::HasSubstr;

// Two memfds, of 1 and 2 bytes.
ApiFiles two_files() {
  ApiFiles files;
  for (const off_t size : {1, 2}) {
    files.emplace_back(::memfd_create("test", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(files.back().get(), size), 0);
  }
  return files;
}

class ApiServerTest : public testing::Test {
 protected:
  ApiServerTest() {
    std::string name = (std::filesystem::temp_directory_path() / "api.XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "sock";
    auto server =
        ApiServer::create(io_, path_, [](const ApiRequest& request, const ApiServer::Reply& reply) {
          const bool ok = request.body.contains("call");
          json::object answer{{"ok", ok}};
          json::array inodes;
          for (const UniqueFd& file : request.files) {
            struct stat status{};
            if (::fstat(file.get(), &status) == 0) inodes.emplace_back(status.st_ino);
          }
          if (!inodes.empty()) answer["inodes"] = inodes;
          if (!ok) answer["error"] = "no call";
          ApiFiles files;
          if (request.body.contains("files")) files = two_files();
          reply(answer, {}, std::move(files));
        });
    EXPECT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
    thread_ = std::thread([this] { io_.run(); });
  }
  ~ApiServerTest() override {
    io_.stop();
    thread_.join();
    server_.reset();
    EXPECT_FALSE(std::filesystem::exists(path_)) << "the socket goes with the server";
    std::filesystem::remove_all(folder_);
  }
  UniqueFd connected() const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.native().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  // The next line that the server sends; what came if it hung up.
  static std::string line(int fd) {
    std::string text;
    for (char c = 0; c != '\n' && ::read(fd, &c, 1) == 1;) text += c;
    return text;
  }
  // Sends bytes as they are and gives all that comes back until the server hangs up.
  std::string raw(const std::string& bytes) {
    const UniqueFd fd = connected();
    EXPECT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    std::string answer;
    char chunk[512];
    for (ssize_t got = 0; (got = ::read(fd.get(), chunk, sizeof chunk)) > 0;)
      answer.append(chunk, static_cast<std::size_t>(got));
    return answer;
  }

  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::filesystem::path folder_;
  std::filesystem::path path_;
  std::unique_ptr<ApiServer> server_;
  std::thread thread_;
};

TEST_F(ApiServerTest, AnswersEachCall) {
  EXPECT_TRUE(call_api(path_, {{"call", "x"}}));
  EXPECT_TRUE(call_api(path_, {{"call", "x"}}));
}

TEST_F(ApiServerTest, HandsDescriptorsOver) {
  ApiFiles files;
  const auto reply = call_api(path_, {{"call", "x"}, {"files", true}}, {.received = &files});
  ASSERT_TRUE(reply) << reply.error().message();
  ASSERT_EQ(files.size(), 2u);
  for (int i = 0; i < 2; ++i) {
    struct stat status{};
    ASSERT_EQ(::fstat(files[static_cast<std::size_t>(i)].get(), &status), 0);
    EXPECT_EQ(status.st_size, i + 1);
    EXPECT_EQ(::fcntl(files[static_cast<std::size_t>(i)].get(), F_GETFD), FD_CLOEXEC);
  }
  EXPECT_TRUE(call_api(path_, {{"call", "x"}}, {.received = &files}));
  EXPECT_TRUE(files.empty());
}

TEST_F(ApiServerTest, ARefusalIsTheClientsError) {
  const auto reply = call_api(path_, {{"other", 1}});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().message(), "no call");
}

TEST_F(ApiServerTest, HangsUpOnWhatIsNoJsonObject) {
  EXPECT_THAT(raw("hello\n"), HasSubstr("not JSON"));
  EXPECT_THAT(raw("[1]\n"), HasSubstr("not a JSON object"));
  EXPECT_THAT(raw(std::string(40, '[') + "\n"), HasSubstr("\"ok\":false"));
}

TEST_F(ApiServerTest, HangsUpOnALineWithoutAnEnd) {
  EXPECT_THAT(raw(std::string(kApiLineMax, ' ')), HasSubstr("a line of more than 65536 bytes"));
}

TEST_F(ApiServerTest, AnswersALineOfTheGreatestLength) {
  const std::string request = R"({"call":"x"})";
  const UniqueFd fd = connected();
  const std::string sent =
      request + std::string(kApiLineMax - request.size() - 1, ' ') + "\n" + request + "\n";
  ASSERT_EQ(::send(fd.get(), sent.data(), sent.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(sent.size()));
  EXPECT_EQ(line(fd.get()), "{\"ok\":true}\n");
  EXPECT_EQ(line(fd.get()), "{\"ok\":true}\n") << "the second request of one piece";
}

TEST_F(ApiServerTest, RefusesAnotherVersion) {
  EXPECT_THAT(raw("{\"call\":\"x\",\"version\":2}\n"),
              HasSubstr("API version 2: this machine speaks 1"));
  EXPECT_THAT(raw("{\"call\":\"x\",\"version\":\"1\"}\n"), HasSubstr("is not a version"));
  const UniqueFd fd = connected();
  const std::string ours = "{\"call\":\"x\",\"version\":1}\n";
  ASSERT_GT(::send(fd.get(), ours.data(), ours.size(), MSG_NOSIGNAL), 0);
  EXPECT_EQ(line(fd.get()), "{\"ok\":true}\n");
}

TEST_F(ApiServerTest, TurnsClientsAwayOverItsLimit) {
  std::vector<UniqueFd> clients;
  // Each is known to the server before the next comes.
  const std::string request = "{\"call\":\"x\"}\n";
  for (std::size_t i = 0; i < ApiServer::kMaxClients; ++i) {
    clients.push_back(connected());
    ASSERT_GT(::send(clients.back().get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    ASSERT_EQ(line(clients.back().get()), "{\"ok\":true}\n");
  }
  const UniqueFd over = connected();
  EXPECT_THAT(line(over.get()), HasSubstr("more than 32 clients"));
  // One that was there is still served.
  ASSERT_GT(::send(clients[3].get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
  EXPECT_EQ(line(clients[3].get()), "{\"ok\":true}\n");
}

TEST_F(ApiServerTest, TakesFilesAlong) {
  const UniqueFd folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const ApiFiles other = two_files();
  json::array sent;
  for (const int fd : {folder.get(), other[0].get()}) {
    struct stat status{};
    ASSERT_EQ(::fstat(fd, &status), 0);
    sent.emplace_back(status.st_ino);
  }
  const auto reply = call_api(path_, {{"call", "x"}}, {.files = {folder.get(), other[0].get()}});
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_EQ(reply->at("inodes"), sent);
  EXPECT_FALSE(call_api(path_, {{"call", "x"}})->contains("inodes"))
      << "they went with their request";
  EXPECT_FALSE(
      call_api(path_, {{"call", "x"}}, {.files = {folder.get(), other[0].get(), other[1].get()}}));
}

TEST_F(ApiServerTest, IsForItsOwnerOnly) {
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(ApiServerTest, RefusesAPathThatExists) {
  asio::io_context io;
  const auto second = ApiServer::create(io, path_, [](const auto&, const auto&) {});
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message(), HasSubstr(path_.string()));
  EXPECT_TRUE(std::filesystem::exists(path_)) << "the first one's socket stays";
}

TEST(ApiClient, NamesTheSocketThatIsNotThere) {
  const auto reply = call_api("/no/such/socket", {});
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().message(), HasSubstr("/no/such/socket"));
  EXPECT_FALSE(call_api(std::string(300, 'x'), {})) << "a path that no address holds";
}

}  // namespace
}  // namespace clonesafe
