#include "vmm_device/agent_channel/messages.h"

namespace clonesafe::agent_channel {

void LineReader::add(std::string_view bytes) {
  buffer_.erase(0, start_);
  start_ = 0;
  buffer_ += bytes;
}

Result<std::optional<std::string_view>> LineReader::next() {
  const std::string_view rest = std::string_view(buffer_).substr(start_);
  const std::size_t newline = rest.find('\n');
  const std::size_t size = newline == std::string_view::npos ? rest.size() : newline;
  if (size >= CLONESAFE_HOST_LINE_MAX) {
    return fail("a line of more than " + std::to_string(CLONESAFE_HOST_LINE_MAX) + " bytes");
  }
  if (newline == std::string_view::npos) return std::optional<std::string_view>();
  start_ += newline + 1;
  return rest.substr(0, newline);
}

}  // namespace clonesafe::agent_channel
