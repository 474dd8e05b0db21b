// The agent's configuration: any file is read or refused, and a refusal is one line.
#include <cstdint>
#include <string>
#include <string_view>

#include "guest_agent/config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace clonesafe::agent;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = parse_config(text, "agent.toml");
  if (!config && config.error().message().find('\n') != std::string::npos) __builtin_trap();
  return 0;
}
