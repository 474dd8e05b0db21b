#include "guest_agent/ctl/agent_client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "guest_agent/base/bytes.h"
#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/page/generation_page_reader.h"

namespace clonesafe::ctl {
namespace {

namespace json = boost::json;

constexpr std::chrono::seconds kPatience{5};

// No time at all: for as long as it takes.
void be_patient(const UniqueFd& fd, std::chrono::milliseconds time) {
  const timeval patience = {.tv_sec = time.count() / 1000,
                            .tv_usec = static_cast<suseconds_t>(time.count() % 1000 * 1000)};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

Result<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return fail(path + " is too long a name");
  path.copy(address.sun_path, path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  // An agent that hangs must not hang whoever asks it.
  be_patient(fd, kPatience);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno("connect to the agent at " + path);
  }
  return fd;
}

// A connection to the agent, line by line.
class Lines {
 public:
  static Result<Lines> connect(const std::string& path) {
    auto fd = connect_to(path);
    if (!fd) return fail(std::move(fd.error()));
    return Lines(std::move(*fd));
  }

  Status send(const json::object& request) {
    const std::string line = json::serialize(request) + "\n";
    if (::send(fd_.get(), line.data(), line.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(line.size()))
      return fail_errno("write to the agent");
    return {};
  }
  void wait_for(std::chrono::milliseconds time) const { be_patient(fd_, time); }

  Result<std::string> next() {
    constexpr std::size_t kLongest = 1U << 20;
    std::size_t end = 0;
    while ((end = received_.find('\n')) == std::string::npos) {
      char block[4096];
      const ssize_t size = ::recv(fd_.get(), block, sizeof(block), 0);
      if (size < 0) return fail_errno("read from the agent");
      if (size == 0) return fail("the agent closed the connection");
      received_.append(block, static_cast<std::size_t>(size));
      if (received_.size() > kLongest) return fail("the agent's answer is too long");
    }
    std::string line = received_.substr(0, end);
    received_.erase(0, end + 1);
    return line;
  }

 private:
  explicit Lines(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::string received_;
};

Result<json::object> answer_of(const std::string& line) {
  json::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) return fail("the agent's answer is not a JSON object");
  const json::object& object = value.get_object();
  // One that says more than why is an answer, not a refusal.
  const json::value* const refusal = object.if_contains("error");
  if (refusal != nullptr && (object.size() == 1 || object.contains("code"))) {
    return fail("the agent refuses: " +
                (refusal->is_string() ? std::string(refusal->get_string()) : std::string("?")));
  }
  return object;
}

}  // namespace

Result<json::object> ask(const std::string& socket_path, const json::object& request,
                         std::chrono::milliseconds patience) {
  auto agent = Lines::connect(socket_path);
  if (!agent) return fail(std::move(agent.error()));
  if (auto sent = agent->send(request); !sent) return fail(std::move(sent.error()));
  agent->wait_for(kPatience + patience);
  const auto line = agent->next();
  if (!line) return fail(line.error());
  return answer_of(*line);
}

Result<json::object> ask_status(const std::string& socket_path) {
  return ask(socket_path, {{"command", "status"}});
}

Status watch(const std::string& socket_path,
             const std::function<bool(const std::string&, const json::object&)>& event) {
  auto agent = Lines::connect(socket_path);
  if (!agent) return fail(std::move(agent.error()));
  if (auto sent = agent->send({{"command", "watch"}, {"name", "clonesafectl"}}); !sent) return sent;
  for (bool first = true, more = true; more; first = false) {
    const auto line = agent->next();
    if (!line) return fail(line.error());
    const auto object = answer_of(*line);
    if (!object) return fail(object.error());
    if (first)
      agent->wait_for({});
    else
      more = event(*line, *object);
  }
  return {};
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
                       {"generation", agent::hex(slot.generation)},
                       {"reseed_epoch", agent::hex(slot.reseed_epoch)},
                       {"restore_id", agent::hex(slot.restore_id)},
                       {"vm_generation_id", agent::hex(slot.vm_generation_id)},
                       {"page", json::object({{"path", page_path}})}});
}

}  // namespace clonesafe::ctl
