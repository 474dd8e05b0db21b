// Lines that whoever listens on the agent's socket sends to a program with hooks. What is taken
// from one must be fit to be sent back in quotes.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "libclonesafe/hooks/agent_line.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using clonesafe::hooks::AgentLine;
  // A copy of exactly its size: a read beyond its end is found.
  const auto text = std::make_unique<char[]>(size);
  if (size != 0) std::memcpy(text.get(), data, size);
  AgentLine line;
  if (!clonesafe::hooks::read_agent_line(text.get(), size, line)) return 0;
  if (std::memchr(line.id, '\0', sizeof(line.id)) == nullptr) std::abort();
  for (const char* c = line.id; *c != '\0'; ++c) {
    if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\') std::abort();
  }
  if (line.what == AgentLine::What::kRestored && line.id[0] == '\0') std::abort();
  return 0;
}
