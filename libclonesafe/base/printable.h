#ifndef CLONESAFE_BASE_PRINTABLE_H_
#define CLONESAFE_BASE_PRINTABLE_H_

#include <string>
#include <string_view>

namespace clonesafe {

// `text`, which is UTF-8, with `instead` for each control character, so that what others wrote
// can't drive a terminal: C0, DEL and C1 (U+0080 to U+009F, which is "\xc2" and one byte).
inline std::string printable(std::string_view text, char instead = '?') {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    out += byte < 0x20 || byte == 0x7f || c1 ? instead : text[i];
    if (c1) ++i;
  }
  return out;
}

}  // namespace clonesafe

#endif  // CLONESAFE_BASE_PRINTABLE_H_
