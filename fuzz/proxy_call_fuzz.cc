// Any line as an operator's call of the proxy: it is one that is known, or one line says why not.
#include <boost/json.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "proxy/admin/call.h"
#include "vmm_device/machine/api_request.h"

using namespace clonesafe;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto request = parse_api_line(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!request) return 0;
  const auto call = proxy::parse_call(*request);
  if (!call) {
    if (call.error().message().find('\n') != std::string::npos) std::abort();
    return 0;
  }
  if (call->limit < 1 || call->limit > 1'000) std::abort();
  if (call->grace &&
      (*call->grace < std::chrono::milliseconds(0) || call->kind != proxy::CallKind::kDrain))
    std::abort();
  return 0;
}
