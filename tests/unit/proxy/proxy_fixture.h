// What the proxy's tests share: a generation page of their own, coroutines run to their end, and
// certificates.
#ifndef CLONESAFE_TESTS_UNIT_PROXY_PROXY_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_PROXY_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <chrono>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>

#include "libclonesafe/base/unique_fd.h"
#include "proxy/core/bytes.h"
#include "proxy/core/loop.h"
#include "proxy/core/plain_stream.h"

namespace clonesafe::proxy {

// A folder of its own, removed with it.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// The generation page that the library of this process reads.
void clone_this_machine();   // the next generation
void resume_this_machine();  // as the source of a snapshot: another reseed epoch
void set_tier_of_this_machine(std::uint32_t tier);  // CS_TIER_: how early a clone is noticed

// A key and a certificate for `name` that is its own authority, as NAME.key and NAME.pem.
void make_certificate(const Folder& folder, const std::string& name,
                      std::chrono::seconds until = std::chrono::hours(1));

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ProxyTest : public testing::Test {
 protected:
  ProxyTest();

  // Runs the loop until it has ended.
  template <typename T>
  T run(Awaitable<T> what) {
    std::optional<T> result;
    std::exception_ptr thrown;
    boost::asio::co_spawn(loop_.io(), std::move(what), [&](std::exception_ptr error, T value) {
      thrown = error;
      result.emplace(std::move(value));
    });
    loop_.io().restart();
    while (!result && loop_.io().run_one_for(std::chrono::seconds(20)) != 0) {
    }
    if (thrown) std::rethrow_exception(thrown);
    EXPECT_TRUE(result) << "it waits for ever";
    return result ? std::move(*result) : T();
  }

  struct Pair {
    std::unique_ptr<PlainStream> stream;
    UniqueFd other;
  };
  // A stream and the blocking socket at its other end.
  Pair make_pair(bool guarded) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    Socket socket(loop_.io());
    socket.assign(boost::asio::generic::stream_protocol(AF_UNIX, 0), ends[0]);
    return {.stream = std::make_unique<PlainStream>(std::move(socket),
                                                    guarded ? Guard(loop_.fence()) : Guard()),
            .other = UniqueFd(ends[1])};
  }
  // What has arrived by now.
  static std::string arrived(const UniqueFd& fd) {
    std::string text(1 << 20, '\0');
    const ssize_t count = ::recv(fd.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  }

  Loop loop_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_PROXY_FIXTURE_H_
