#include "vmm_device/machine/api_request.h"

#include <boost/json.hpp>

namespace clonesafe {
namespace json = boost::json;
namespace {

constexpr std::size_t kMaxDepth = 8;

}  // namespace

Result<json::object> parse_api_line(std::string_view line, std::size_t longest) {
  if (line.size() >= longest)
    return fail("a line of more than " + std::to_string(longest) + " bytes");
  json::parse_options options;
  options.max_depth = kMaxDepth;
  boost::system::error_code error;
  json::value value = json::parse(json::string_view(line.data(), line.size()), error, {}, options);
  if (error) return fail("not JSON: " + error.message());
  if (!value.is_object()) return fail("not a JSON object");
  return std::move(value.as_object());
}

Status check_api_version(const json::object& request) {
  const json::value* version = request.if_contains("version");
  if (version == nullptr) return {};
  if (!version->is_int64() || version->get_int64() < 1) return fail("\"version\" is not a version");
  if (version->get_int64() == kApiVersion) return {};
  return fail("API version " + std::to_string(version->get_int64()) + ": this machine speaks " +
              std::to_string(kApiVersion));
}

json::object api_failure(std::string_view why) {
  return {{"ok", false}, {"error", json::string_view(why.data(), why.size())}};
}

}  // namespace clonesafe
