// The line that each RESP value begins with, for the framers and readers of this folder.
#ifndef CLONESAFE_PROXY_WIRE_RESP_HEADER_LINE_H_
#define CLONESAFE_PROXY_WIRE_RESP_HEADER_LINE_H_

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/wire/resp/value.h"

namespace clonesafe::wire::resp {

constexpr std::string_view kLineEnd = "\r\n";

// An integer as redis-server's string2ll() takes it: no plus, no zero in front, no space.
std::optional<std::int64_t> canonical_integer(std::string_view text);

// Where a line of `text` that begins at its start ends, its CRLF included.
struct Line {
  // 0: the end isn't in `text` yet.
  std::size_t size = 0;
  std::string_view content;
};
constexpr std::string_view kTooLong = "a line is too long";
// Why there can't be a line, for "... at byte N".
using LineResult = std::expected<Line, std::string_view>;

// `scanned` bytes of `text` are known to hold no end; `limit` is of the content.
LineResult find_line(std::string_view text, std::size_t scanned, std::size_t limit);

struct Header {
  Type type = Type::kNull;
  // $-1 and *-1 of RESP2, and _.
  bool null = false;
  // What it says: an integer, a length in bytes, or a count of elements (a map's keys and values
  // are counted both).
  std::int64_t number = 0;
};
std::expected<Header, std::string_view> parse_header(std::string_view content);

// "'f'", or "byte 0x07" for what can't be shown.
std::string shown(char byte);

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_PROXY_WIRE_RESP_HEADER_LINE_H_
