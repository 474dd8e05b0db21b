#ifndef CLONESAFE_PROXY_WIRE_RESP_BUILDER_H_
#define CLONESAFE_PROXY_WIRE_RESP_BUILDER_H_

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "proxy/wire/resp/value.h"

namespace clonesafe::wire::resp {

// Each appends to `out`, which the caller clears, or reserves, or sends.

void append_command(std::string& out, std::span<const std::string_view> arguments);
inline void append_command(std::string& out, std::initializer_list<std::string_view> arguments) {
  append_command(out, std::span(arguments.begin(), arguments.size()));
}

// A line can't hold CR and LF: they become spaces, as redis-server does it.
void append_simple_string(std::string& out, std::string_view text);
// `text` begins with the error's code: "ERR unknown command".
void append_error(std::string& out, std::string_view text);
void append_integer(std::string& out, std::int64_t number);
void append_bulk_string(std::string& out, std::string_view text);

// What RESP2 has no type for is what redis-server puts in its place: $-1, 0 or 1, a string, an
// array of keys and values.
void append_null(std::string& out, Protocol protocol);
void append_boolean(std::string& out, Protocol protocol, bool value);
void append_double(std::string& out, Protocol protocol, double number);
// `digits` is a decimal number.
void append_big_number(std::string& out, Protocol protocol, std::string_view digits);
// `format` is of three letters: "txt", "mkd".
void append_verbatim(std::string& out, Protocol protocol, std::string_view format,
                     std::string_view text);

// So many values have to be appended behind these; a map's are keys and values in turn, twice
// `pairs`.
void append_array(std::string& out, std::uint64_t values);
void append_set(std::string& out, Protocol protocol, std::uint64_t values);
void append_map(std::string& out, Protocol protocol, std::uint64_t pairs);
void append_push(std::string& out, Protocol protocol, std::uint64_t values);

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_PROXY_WIRE_RESP_BUILDER_H_
