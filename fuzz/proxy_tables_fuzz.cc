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
    // What drives a terminal is not among it: C0, DEL, C1.
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0xff;
      if (text[i] != '\n' && (byte < 0x20 || byte == 0x7f)) std::abort();
      if (byte == 0xc2 && next < 0xa0) std::abort();
    }
  }
  return 0;
}
