// The proxy's configuration: any text is a configuration, or one line that says what is wrong.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "proxy/config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = clonesafe::proxy::parse_config(text, "proxy.toml");
  if (config) {
    for (const auto& service : config->services) {
      if (service.name.empty() || service.listen.empty() || service.upstream.addresses.empty())
        std::abort();
    }
    return 0;
  }
  const std::string& message = config.error().message();
  if (message.find('\n') != std::string::npos || !message.starts_with("proxy.toml")) std::abort();
  return 0;
}
