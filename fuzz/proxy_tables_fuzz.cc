// Any answer of a proxy as clonesafe-proxyctl prints it.
#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "proxy/ctl/tables.h"
#include "vmm_device/machine/api_request.h"

using namespace clonesafe;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto answer = parse_api_line(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!answer) return 0;
  for (const std::string& text : {proxy::status_table(*answer), proxy::sessions_table(*answer),
                                  proxy::upstreams_table(*answer)}) {
    // What drives a terminal is not among it.
    for (const char c : text) {
      if (c != '\n' && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)) std::abort();
    }
  }
  return 0;
}
