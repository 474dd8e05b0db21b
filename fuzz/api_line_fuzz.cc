// Any bytes as a client's end of the control socket.
#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "vmm_device/machine/api_request.h"

using namespace clonesafe;

namespace {

std::size_t depth(const boost::json::value& value) {
  std::size_t deepest = 0;
  if (value.is_object()) {
    for (const auto& member : value.get_object())
      deepest = std::max(deepest, depth(member.value()));
    return deepest + 1;
  }
  if (value.is_array()) {
    for (const auto& element : value.get_array()) deepest = std::max(deepest, depth(element));
    return deepest + 1;
  }
  return 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto request = parse_api_line(line);
  if (!request) return 0;
  if (size >= kApiLineMax || depth(*request) > 8) std::abort();
  (void)check_api_version(*request);
  // What is answered to a client must be one line whatever it said.
  const std::string echo = boost::json::serialize(api_failure(line));
  if (echo.find('\n') != std::string::npos) std::abort();
  return 0;
}
