#include "guest_agent/ctl/agent_client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <boost/json/parse.hpp>
#include <span>

#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/page/generation_page_reader.h"

namespace clonesafe::ctl {
namespace {

namespace json = boost::json;

Result<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return fail(path + " is too long a name");
  path.copy(address.sun_path, path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  // An agent that hangs must not hang whoever asks it.
  const timeval patience = {.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno("connect to the agent at " + path);
  }
  return fd;
}

std::string hex(std::span<const std::uint8_t> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

std::string hex(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof(text), "%llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

Result<json::object> ask_status(const std::string& socket_path) {
  constexpr std::size_t kLongest = 1U << 20;
  auto fd = connect_to(socket_path);
  if (!fd) return fail(std::move(fd.error()));
  constexpr std::string_view kRequest = "{\"command\":\"status\"}\n";
  if (::send(fd->get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(kRequest.size())) {
    return fail_errno("write to the agent");
  }
  std::string answer;
  while (answer.find('\n') == std::string::npos) {
    char block[4096];
    const ssize_t size = ::recv(fd->get(), block, sizeof(block), 0);
    if (size < 0) return fail_errno("read from the agent");
    if (size == 0) return fail("the agent closed the connection");
    answer.append(block, static_cast<std::size_t>(size));
    if (answer.size() > kLongest) return fail("the agent's answer is too long");
  }
  json::error_code error;
  const json::value value = json::parse(answer.substr(0, answer.find('\n')), error);
  if (error || !value.is_object()) return fail("the agent's answer is not a JSON object");
  if (const json::value* const refusal = value.get_object().if_contains("error")) {
    return fail("the agent refuses: " +
                (refusal->is_string() ? std::string(refusal->get_string()) : std::string("?")));
  }
  return value.get_object();
}

Result<json::object> read_page_status(const std::string& page_path) {
  auto reader = GenerationPageReader::open(page_path);
  if (!reader) return fail(std::move(reader.error()));
  const auto snapshot = reader->read();
  if (!snapshot) return fail(snapshot.error());
  const clonesafe_generation_slot& slot = snapshot->slot;
  return json::object({{"agent", nullptr},
                       {"state", state_name(slot.state)},
                       {"tier", tier_name(slot.tier)},
                       {"generation", hex(slot.generation)},
                       {"reseed_epoch", hex(slot.reseed_epoch)},
                       {"restore_id", hex(slot.restore_id)},
                       {"vm_generation_id", hex(slot.vm_generation_id)},
                       {"page", json::object({{"path", page_path}})}});
}

}  // namespace clonesafe::ctl
