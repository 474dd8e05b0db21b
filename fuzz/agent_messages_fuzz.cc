// Any bytes as the agent's end of the host protocol.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "clonesafe/abi/secret_page.h"
#include "vmm_device/agent_channel/messages.h"

using namespace clonesafe;
using namespace clonesafe::agent_channel;

namespace {
// Text from the guest is printed by the host.
void check_text(std::string_view text) {
  if (text.size() > 1024) std::abort();
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) std::abort();
  }
}
void check_results(const std::vector<RepairResult>& results) {
  for (const auto& result : results) {
    check_text(result.name);
    check_text(result.detail);
  }
}
void check(const GuestMessage& message) {
  if (const auto* hello = std::get_if<Hello>(&message)) {
    check_text(hello->agent);
    check_text(hello->kernel);
  } else if (const auto* secrets = std::get_if<RegisterSecrets>(&message)) {
    check_text(secrets->id);
    if (secrets->pages.size() > CLONESAFE_SECRET_PAGES_MAX) std::abort();
  } else if (const auto* prepared = std::get_if<Prepared>(&message)) {
    check_text(prepared->error);
    check_results(prepared->steps);
  } else if (const auto* report = std::get_if<SafeReport>(&message)) {
    for (const auto& source : report->sources) check_text(source);
    check_results(report->repairs);
  }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  // The first byte says in what pieces the stream arrives.
  const std::size_t piece = std::size_t{data[0]} + 1;
  std::string_view stream(reinterpret_cast<const char*>(data + 1), size - 1);
  LineReader reader;
  while (!stream.empty()) {
    reader.add(stream.substr(0, piece));
    stream.remove_prefix(std::min(piece, stream.size()));
    while (true) {
      auto line = reader.next();
      if (!line) return 0;
      if (!*line) break;
      if ((*line)->size() >= CLONESAFE_HOST_LINE_MAX) std::abort();
      if (auto message = parse_guest_message(**line)) check(*message);
    }
  }
  return 0;
}
