// Channels of a guest that are held until it is safe: streams by vsock ports, and flushes of a
// disk. The guest's programs ask without pause, across their snapshot. (A held network:
// network_test.)
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/json/parse.hpp>
#include <fstream>

#include "libclonesafe/base/unique_fd.h"
#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr int kAsked = 7000;           // the host's port that the guest asks for
const std::string kCommands = "5001";  // the guest's, of its command server

// The second argument of printf has no quotes in it.
const std::string kAskWithoutPause =
    "printf '%b' 'import socket, time\\nwhile True:\\n    try:\\n        stream = "
    "socket.socket(socket.AF_VSOCK)\\n        stream.connect((2, 7000))\\n        "
    "stream.sendall(b\"from the guest\")\\n    except OSError:\\n        pass\\n    "
    "time.sleep(0.2)\\n' >/run/ask.py; python3 /run/ask.py </dev/null >/run/ask.log 2>&1 &";
const std::string kFlushWithoutPause =
    "(while dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=notrunc,fsync; do echo >>/run/flushed; "
    "done) </dev/null >/run/flush.log 2>&1 &";

class HoldTest : public CloneTest {
 protected:
  json::object status() const { return answer({"status"}); }
  json::object answer(std::vector<std::string> call) const {
    call.insert(call.begin(), Lab::get().clonevm);
    for (const std::string& more : {std::string("--api"), api().string()}) call.push_back(more);
    const auto outcome = lab::run(call, Seconds(60));
    if (!outcome || outcome->status != 0) return {};
    return json::parse(outcome->output).as_object();
  }
  std::uint64_t flushes() const {
    const auto outcome = lab::run({Lab::get().clonevm, "metrics", "--api", api()}, Seconds(60));
    const std::string name = "clonevm_disk_flushes_total{disk=\"0\"} ";
    const std::size_t at = outcome ? outcome->output.find(name) : std::string::npos;
    EXPECT_NE(at, std::string::npos);
    return at == std::string::npos ? 0 : std::stoull(outcome->output.substr(at + name.size()));
  }
  fs::path folder() const { return scratch_ / "clones" / "1"; }
  fs::path api() const { return folder() / "api.sock"; }

  // A host program that the guest's program asks for.
  UniqueFd listen() const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = folder() / ("vsock.sock_" + std::to_string(kAsked));
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd.get(), 64), 0);
    return fd;
  }
  static bool was_asked(const UniqueFd& listener) {
    return UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)).get() >= 0;
  }
  // A snapshot of a guest whose programs ask and flush.
  void take_snapshot() {
    std::ofstream(scratch_ / "image", std::ios::binary) << std::string(1 << 20, 'i');
    BootOptions options{.cmdline = kNoAgent};
    options.arguments = {"--disk", (scratch_ / "image").string() + ",layer=temporary"};
    const auto vm = boot(options);
    ASSERT_TRUE(vm);
    vm->guest().get(
        "while read -r module; do insmod /lib/modules/disk/$module; done </lib/modules/disk/load");
    vm->guest().get(kAskWithoutPause);
    vm->guest().get(kFlushWithoutPause);
    ASSERT_TRUE(eventually(Seconds(60),
                           [&] { return vm->guest().run("test -s /run/flushed")->status == 0; }));
    ASSERT_EQ(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"})->status, 0);
  }
  std::unique_ptr<Restored> restore(std::vector<std::string> options) {
    for (const char* option : {"--timeout", "110", "--wait", "running"})
      options.emplace_back(option);
    return Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1, options);
  }
};

TEST_F(HoldTest, StreamsAndFlushesWaitUntilTheHoldEnds) {
  const std::vector<std::string> hold = {"--hold-vsock", std::to_string(kAsked) + "," + kCommands,
                                         "--hold-disk", "0", "--hold-limit"};
  take_snapshot();
  {
    SCOPED_TRACE("held for ever");
    auto options = hold;
    options.emplace_back("forever");
    const auto restored = restore(options);
    ASSERT_TRUE(restored);
    const UniqueFd listener = listen();
    EXPECT_TRUE(eventually(Seconds(110), [&] {
      EXPECT_FALSE(was_asked(listener)) << "a host program was asked";
      const json::object now = status();
      if (now.empty()) return false;
      const auto& held = now.at("hold").as_object();
      EXPECT_TRUE(held.at("held").as_bool());
      return held.at("streams").to_number<int>() > 2 && held.at("flushes").to_number<int>() > 0;
    }));
    EXPECT_EQ(flushes(), 0u);
    const auto refused = restored->guest(1).snapshot(scratch_ / "second", {"--resume"});
    EXPECT_EQ(refused->status, 1);
    EXPECT_NE(refused->output.find("disk 0: its flushes are held"), std::string::npos)
        << refused->output;
    EXPECT_FALSE(restored->guest(1).run("true", Seconds(3))) << "the held command server answered";
  }
  fs::remove_all(scratch_ / "clones");
  {
    SCOPED_TRACE("held for a time");
    auto options = hold;
    options.emplace_back("3");
    const auto restored = restore(options);
    ASSERT_TRUE(restored);
    const UniqueFd listener = listen();
    EXPECT_TRUE(eventually(Seconds(60), [&] { return was_asked(listener); }));
    EXPECT_FALSE(status().at("hold").as_object().at("held").as_bool());
    EXPECT_NE(read_file(folder() / "clone.log")
                  .find("what is held is released after 3000 ms without a report"),
              std::string::npos);
    EXPECT_TRUE(eventually(Seconds(60), [&] { return flushes() > 2; })) << "a flush is stuck";
    EXPECT_EQ(restored->guest(1).get("echo here"), "here");
  }
  fs::remove_all(scratch_ / "clones");
  {
    SCOPED_TRACE("the twin: not held, both go through, though nobody made the clone safe");
    const auto restored = restore({});
    ASSERT_TRUE(restored);
    const UniqueFd listener = listen();
    EXPECT_TRUE(eventually(Seconds(60), [&] { return was_asked(listener); }));
    EXPECT_TRUE(eventually(Seconds(60), [&] { return flushes() > 2; }));
    EXPECT_TRUE(status().at("safe").is_null());
  }
}

}  // namespace
}  // namespace clonesafe::lab
