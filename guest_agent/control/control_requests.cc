#include <boost/json.hpp>

#include "guest_agent/control/control_server.h"

namespace clonesafe::agent {
namespace {

namespace json = boost::json;

std::string refuse(const std::string& why) {
  return json::serialize(json::object({{"error", why}}));
}

}  // namespace

std::string answer_request(std::string_view line, const std::function<std::string()>& status) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = 4;
  const json::value request = json::parse(line, error, {}, options);
  if (error) return refuse("the request is not JSON: " + error.message());
  const json::object* const object = request.if_object();
  const json::value* const command = object == nullptr ? nullptr : object->if_contains("command");
  if (command == nullptr || !command->is_string()) return refuse("the request has no command");
  if (command->get_string() == "status") return status();
  return refuse("unknown command (status)");
}

}  // namespace clonesafe::agent
