#include <boost/json.hpp>

#include "guest_agent/control/control_server.h"

namespace clonesafe::agent {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;

constexpr std::size_t kLongestText = 64;
constexpr std::int64_t kMostMilliseconds = 600'000;

// One request, taken apart. What can't be taken is a refusal, and nothing is done.
class Request {
 public:
  Request(const json::object& object, const ControlServer::Client& client,
          const ControlCommands& commands, const ControlServer::Reply& reply)
      : object_(object), client_(client), commands_(commands), reply_(reply) {}

  void answer(std::string_view command) {
    if (command == "status") return reply_({.line = commands_.status()});
    if (command == "allocate_secret") return commands_.allocate_secret(client_->user(), reply_);
    if (command == "watch") return watch();
    if (command == "ack") return acknowledge();
    if (command == "wait") return wait();
    if (command == "hooks") return reply_({.line = commands_.hooks()});
    if (command == "prepare" || command == "resume") {
      if (!client_->may_drive()) return refuse("only root or the configured group may do that");
      if (command == "resume") return reply_({.line = commands_.resume()});
      return prepare();
    }
    refuse("unknown command (status, allocate_secret, watch, ack, wait, hooks, prepare, resume)");
  }

 private:
  void refuse(const std::string& why) const { reply_({.line = refusal_line(why)}); }

  // An absent member is what `otherwise` says.
  Result<std::string> text(const char* name, const std::string& otherwise) const {
    const json::value* const value = object_.if_contains(name);
    if (value == nullptr) return otherwise;
    const json::string* const given = value->if_string();
    if (given == nullptr || given->size() > kLongestText)
      return fail("\"" + std::string(name) + "\" is not a string of at most 64 bytes");
    for (const char c : *given) {
      if (c < ' ' || c > '~') return fail("\"" + std::string(name) + "\" is not printable ASCII");
    }
    return std::string(*given);
  }
  Result<milliseconds> time(const char* name, milliseconds otherwise) const {
    const json::value* const value = object_.if_contains(name);
    if (value == nullptr) return otherwise;
    const std::int64_t* const given = value->if_int64();
    if (given == nullptr || *given < 0 || *given > kMostMilliseconds)
      return fail("\"" + std::string(name) + "\" is not a whole number from 0 to 600000");
    return milliseconds(*given);
  }

  void watch() {
    const auto name = text("name", "");
    if (!name) return refuse(name.error().message());
    const json::value* const wanted = object_.if_contains("tracked");
    if (wanted != nullptr && !wanted->is_bool())
      return refuse("\"tracked\" is neither true nor false");
    const bool tracked = wanted != nullptr && wanted->get_bool();
    if (tracked && !client_->may_drive())
      return refuse("only root or the configured group may be waited for; watch without it");
    if (client_->watcher != 0) return refuse("watches already");
    const std::string pid = "pid " + std::to_string(client_->pid());
    Watchers& watchers = commands_.watchers;
    client_->watcher = watchers.add({.name = name->empty() ? pid : *name + " (" + pid + ")",
                                     .pid = client_->pid(),
                                     .tracked = tracked,
                                     .push = [client = std::weak_ptr(client_)](std::string line) {
                                       if (const auto here = client.lock())
                                         here->push(std::move(line));
                                     }});
    client_->keep([&watchers, id = client_->watcher] { watchers.remove(id); });
    reply_({.line = R"({"watching":true})"});
  }

  void acknowledge() {
    const auto id = text("id", "");
    const auto error = text("error", "");
    if (!id) return refuse(id.error().message());
    if (!error) return refuse(error.error().message());
    if (const auto done = commands_.watchers.ack(client_->watcher, *id, *error); !done)
      return refuse(done.error().message());
    reply_({.line = R"({"acknowledged":true})"});
  }

  void wait() {
    const auto limit = time("timeout_ms", milliseconds(10'000));
    if (!limit) return refuse(limit.error().message());
    commands_.watchers.wait(*limit, [reply = reply_](const Watchers::Acks& acks) {
      reply({.line = json::serialize(json::object{{"acknowledged", acks.missing.empty()},
                                                  {"tracked", acks.tracked},
                                                  {"missing", json::value_from(acks.missing)}})});
    });
  }

  void prepare() {
    const auto deadline = time("deadline_ms", milliseconds(10'000));
    if (!deadline) return refuse(deadline.error().message());
    commands_.prepare(*deadline, reply_);
  }

  const json::object& object_;
  const ControlServer::Client& client_;
  const ControlCommands& commands_;
  const ControlServer::Reply& reply_;
};

}  // namespace

std::string refusal_line(const std::string& why, const std::string& code) {
  json::object object = {{"error", why}};
  if (!code.empty()) object["code"] = code;
  return json::serialize(object);
}

void answer_request(std::string_view line, const ControlServer::Client& client,
                    const ControlCommands& commands, const ControlServer::Reply& reply) {
  const auto refuse = [&reply](const std::string& why) { reply({.line = refusal_line(why)}); };
  json::error_code error;
  json::parse_options options;
  options.max_depth = 4;
  const json::value request = json::parse(line, error, {}, options);
  if (error) return refuse("the request is not JSON: " + error.message());
  const json::object* const object = request.if_object();
  const json::value* const command = object == nullptr ? nullptr : object->if_contains("command");
  if (command == nullptr || !command->is_string()) return refuse("the request has no command");
  Request(*object, client, commands, reply).answer(command->get_string());
}

}  // namespace clonesafe::agent
