// Every text that the agent takes from somebody else: the host's lines, a local client's requests,
// a scraper's, the kernel's log and resource list.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "guest_agent/control/control_server.h"
#include "guest_agent/control/host_messages.h"
#include "guest_agent/helper/messages.h"
#include "guest_agent/metrics/metrics_server.h"
#include "guest_agent/sources/kmsg_source.h"
#include "libclonesafe/physical/iomem.h"

namespace {

// A client that may do everything, once as one that watches.
class Client : public clonesafe::agent::ControlClient {
 public:
  uid_t user() const override { return 0; }
  pid_t pid() const override { return 1; }
  bool may_drive() const override { return true; }
  void keep(std::function<void()> ended) override { ended_ = std::move(ended); }
  void push(std::string) override {}

 private:
  std::function<void()> ended_;
};

class NoTimers : public clonesafe::agent::Timers {
 public:
  void after(std::chrono::milliseconds, std::function<void()>) override {}
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace clonesafe::agent;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)parse_host_message(text);
  int answers = 0;
  const auto reply = [&answers](const ControlServer::Answer&) { ++answers; };
  const auto nothing = [] { return std::string("{}"); };
  NoTimers timers;
  Watchers watchers(timers, std::chrono::milliseconds(1));
  const ControlCommands commands = {
      .status = nothing,
      .allocate_secret = [](uid_t, const ControlServer::Reply& answer) { answer({.line = "{}"}); },
      .prepare = [](std::chrono::milliseconds,
                    const ControlServer::Reply& answer) { answer({.line = "{}"}); },
      .resume = nothing,
      .hooks = nothing,
      .watchers = watchers};
  const auto client = std::make_shared<Client>();
  for (int turn = 1; turn <= 2; ++turn) {
    answer_request(text, client, commands, reply);
    if (answers != turn) std::abort();
    client->watcher = watchers.add({.push = [](const std::string&) {}});
  }
  (void)parse_helper_request(text);
  (void)parse_helper_answer(text);
  (void)vm_fork_notice(text);
  (void)clonesafe::find_in_iomem(text, "CLNS0001");
  if (!http_answer(text, nothing).starts_with("HTTP/1.1 ")) std::abort();
  return 0;
}
