#include "vmm_device/generation/vm_generation_id.h"

namespace clonesafe {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";
// Where in memory the bytes stand that the text shows from left to right.
constexpr std::array<std::size_t, CLONESAFE_VMGENID_SIZE> kTextOrder = {
    3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr std::size_t kTextSize = 36;

constexpr bool is_dash(std::size_t position) {
  return position == 8 || position == 13 || position == 18 || position == 23;
}

// -1 for what is not a digit.
constexpr int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string to_guid(const VmGenerationId& id) {
  std::string text;
  text.reserve(kTextSize);
  for (const std::size_t index : kTextOrder) {
    if (is_dash(text.size())) text += '-';
    const auto value = std::to_integer<unsigned>(id[index]);
    text += kDigits[value >> 4];
    text += kDigits[value & 15];
  }
  return text;
}

Result<VmGenerationId> parse_guid(std::string_view text) {
  if (text.size() != kTextSize) {
    return fail("GUID: " + std::to_string(text.size()) + " characters, expected 36");
  }
  VmGenerationId id{};
  std::size_t position = 0;
  for (const std::size_t index : kTextOrder) {
    if (is_dash(position)) {
      if (text[position] != '-') {
        return fail("GUID: no '-' at character " + std::to_string(position + 1));
      }
      ++position;
    }
    unsigned value = 0;
    for (int digit = 0; digit < 2; ++digit, ++position) {
      const int bits = digit_value(text[position]);
      if (bits < 0) {
        return fail("GUID: no hexadecimal digit at character " + std::to_string(position + 1));
      }
      value = value << 4 | static_cast<unsigned>(bits);
    }
    id[index] = static_cast<std::byte>(value);
  }
  return id;
}

}  // namespace clonesafe
