// Fields of a head or of a trailer section, and what those fields say that decide where a message
// ends.
#ifndef CLONESAFE_PROXY_WIRE_HTTP1_FIELD_SECTION_H_
#define CLONESAFE_PROXY_WIRE_HTTP1_FIELD_SECTION_H_

#include <expected>
#include <optional>
#include <string_view>

#include "proxy/wire/http1/message.h"

namespace clonesafe::wire::http1 {

// A refusal: what a server answers to it, and why.
struct Refusal {
  std::uint16_t status = 400;
  std::string_view why;
};
template <typename T>
using Parsed = std::expected<T, Refusal>;

inline std::unexpected<Refusal> refuse(std::string_view why, std::uint16_t status = 400) {
  return std::unexpected(Refusal{.status = status, .why = why});
}

// A line up to LF: without its CRLF, which it must have, and without another CR.
Parsed<std::string_view> line_content(std::string_view line);

// "name: value", without its CRLF.
Parsed<Field> parse_field(std::string_view line);

// What the fields say together. Fill with take() for each, then finish().
struct FieldSummary {
  std::optional<std::string_view> host;
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool close = false;
  bool keep_alive = false;
  bool connection_upgrade = false;
  std::optional<std::string_view> upgrade;
  bool expects_continue = false;
  bool offers_h2c = false;

  Parsed<void> take(const Field& field, std::string_view line);
  Parsed<void> finish(Version version) const;

 private:
  Parsed<void> take_content_length(const Field& field, std::string_view line);
  Parsed<void> take_transfer_encoding(const Field& field, std::string_view line);
  Parsed<void> take_connection(std::string_view value);
  Parsed<void> take_upgrade(std::string_view value);
};

// RFC 3986, 3.2.2 and 3.2.3, as far as it keeps one name from being read as another: no user, no
// path, no spaces, no commas, one colon outside of brackets, digits behind it. Empty is one.
bool is_host(std::string_view host);

// A field that decides where a message ends or for whom it is, which a trailer can't be.
bool decides_framing(std::string_view name);

}  // namespace clonesafe::wire::http1

#endif  // CLONESAFE_PROXY_WIRE_HTTP1_FIELD_SECTION_H_
