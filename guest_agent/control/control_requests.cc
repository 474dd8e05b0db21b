#include <boost/json.hpp>

#include "guest_agent/control/control_server.h"

namespace clonesafe::agent {
namespace {

namespace json = boost::json;

}  // namespace

std::string refusal_line(const std::string& why, const std::string& code) {
  json::object object = {{"error", why}};
  if (!code.empty()) object["code"] = code;
  return json::serialize(object);
}

void answer_request(std::string_view line, uid_t user, const ControlCommands& commands,
                    ControlServer::Reply reply) {
  const auto refuse = [&reply](const std::string& why) { reply({.line = refusal_line(why)}); };
  json::error_code error;
  json::parse_options options;
  options.max_depth = 4;
  const json::value request = json::parse(line, error, {}, options);
  if (error) return refuse("the request is not JSON: " + error.message());
  const json::object* const object = request.if_object();
  const json::value* const command = object == nullptr ? nullptr : object->if_contains("command");
  if (command == nullptr || !command->is_string()) return refuse("the request has no command");
  if (command->get_string() == "status") return reply({.line = commands.status()});
  if (command->get_string() == "allocate_secret") return commands.allocate_secret(user, reply);
  return refuse("unknown command (status, allocate_secret)");
}

}  // namespace clonesafe::agent
