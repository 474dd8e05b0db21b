// Every text that the agent takes from somebody else: the host's lines, a local client's requests,
// the kernel's log and resource list.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "guest_agent/control/control_server.h"
#include "guest_agent/control/host_messages.h"
#include "guest_agent/sources/iomem.h"
#include "guest_agent/sources/kmsg_source.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace clonesafe::agent;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)parse_host_message(text);
  int answers = 0;
  const auto reply = [&answers](const ControlServer::Answer&) { ++answers; };
  const ControlCommands commands = {
      .status = [] { return std::string("{}"); },
      .allocate_secret = [](uid_t, const ControlServer::Reply& answer) { answer({.line = "{}"}); }};
  answer_request(text, 0, commands, reply);
  if (answers != 1) std::abort();
  (void)vm_fork_notice(text);
  (void)find_in_iomem(text, "CLNS0001");
  return 0;
}
