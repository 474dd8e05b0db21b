#ifndef CLONESAFE_PROXY_CORE_BYTES_H_
#define CLONESAFE_PROXY_CORE_BYTES_H_

#include <cstddef>
#include <span>
#include <string_view>

namespace clonesafe::proxy {

// The same bytes, as parsers and as streams take them.
inline std::string_view view_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_BYTES_H_
