#include "proxy/wire/proxy_protocol/crc32c.h"

#include <array>

namespace clonesafe::wire::proxy_protocol {
namespace {

// The polynomial, its bits in reverse.
constexpr std::uint32_t kPolynomial = 0x82f63b78;

constexpr std::array<std::uint32_t, 256> kTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit)
      remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? kPolynomial : 0);
    table[byte] = remainder;
  }
  return table;
}();

}  // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t before) {
  std::uint32_t checksum = ~before;
  for (const char byte : bytes)
    checksum = (checksum >> 8) ^ kTable[(checksum ^ static_cast<unsigned char>(byte)) & 0xff];
  return ~checksum;
}

}  // namespace clonesafe::wire::proxy_protocol
