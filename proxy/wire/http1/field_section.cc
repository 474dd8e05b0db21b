#include "proxy/wire/http1/field_section.h"

#include <algorithm>
#include <array>

#include "proxy/wire/http1/characters.h"

namespace clonesafe::wire::http1 {
namespace {

constexpr std::string_view kHost = "host";
constexpr std::string_view kContentLength = "content-length";
constexpr std::string_view kTransferEncoding = "transfer-encoding";

// CGI and what came after it take '_' and '-' for the same.
bool is_twin(std::string_view name, std::string_view of) {
  return name.size() == of.size() && name.contains('_') &&
         std::ranges::equal(name, of, [](char one, char other) {
           return other == '-' ? one == '-' || one == '_' : (one | 0x20) == other;
         });
}

// One space or none in front and nothing behind: what is read in the same way by all who read it.
bool is_plain(std::string_view line, const Field& field) {
  std::string_view value = line.substr(field.name.size() + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  return value == field.value;
}

}  // namespace

bool is_host(std::string_view host) {
  constexpr std::string_view kName =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+;=%";
  constexpr std::string_view kAddress = "0123456789abcdefABCDEF:.vV%";
  std::size_t end = 0;
  if (host.starts_with('[')) {
    end = host.find(']');
    if (end == host.npos || end == 1) return false;
    if (host.substr(1, end - 1).find_first_not_of(kAddress) != host.npos) return false;
    ++end;
  } else {
    end = std::min(host.find_first_not_of(kName), host.size());
  }
  if (end == host.size()) return true;
  const std::string_view port = host.substr(end + 1);
  return host[end] == ':' && port.size() <= 5 && port.find_first_not_of("0123456789") == port.npos;
}

Parsed<std::string_view> line_content(std::string_view line) {
  if (!line.ends_with(kLineEnd)) return refuse("a line feed without a carriage return");
  line.remove_suffix(kLineEnd.size());
  if (line.contains('\r')) return refuse("a carriage return without a line feed");
  return line;
}

Parsed<Field> parse_field(std::string_view line) {
  if (line.starts_with(' ') || line.starts_with('\t'))
    return refuse("a line that begins with a space");
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return refuse("a field without a colon");
  const Field field{.name = line.substr(0, colon), .value = trimmed(line.substr(colon + 1))};
  if (field.name.ends_with(' ') || field.name.ends_with('\t'))
    return refuse("a space before the colon of a field");
  if (!is_token(field.name)) return refuse("the name of a field is no token");
  if (!is_field_value(field.value)) return refuse("a control character in a field");
  return field;
}

bool decides_framing(std::string_view name) {
  return std::ranges::any_of(std::to_array({kHost, kContentLength, kTransferEncoding}),
                             [name](std::string_view other) {
                               return equals_ignoring_case(name, other) || is_twin(name, other);
                             });
}

Parsed<void> FieldSummary::take_content_length(const Field& field, std::string_view line) {
  if (content_length) return refuse("more than one Content-Length");
  if (!is_plain(line, field)) return refuse("spaces around Content-Length");
  content_length = decimal(field.value);
  if (!content_length) return refuse("Content-Length is no plain number");
  return {};
}

Parsed<void> FieldSummary::take_transfer_encoding(const Field& field, std::string_view line) {
  if (chunked) return refuse("more than one Transfer-Encoding");
  if (!is_plain(line, field)) return refuse("spaces around Transfer-Encoding");
  if (!equals_ignoring_case(field.value, "chunked"))
    return refuse("a Transfer-Encoding other than chunked", 501);
  chunked = true;
  return {};
}

Parsed<void> FieldSummary::take_connection(std::string_view value) {
  while (const auto option = take_element(value)) {
    if (!is_token(*option)) return refuse("Connection is no list of names");
    if (equals_ignoring_case(*option, "close")) {
      close = true;
    } else if (equals_ignoring_case(*option, "keep-alive")) {
      keep_alive = true;
    } else if (equals_ignoring_case(*option, "upgrade")) {
      connection_upgrade = true;
    } else if (decides_framing(*option)) {
      // The next one would take it out.
      return refuse("Connection names a field that says where the message ends");
    }
  }
  return {};
}

Parsed<void> FieldSummary::take_upgrade(std::string_view value) {
  if (upgrade) return refuse("more than one Upgrade");
  upgrade = value;
  while (const auto protocol = take_element(value))
    offers_h2c |= equals_ignoring_case(*protocol, "h2c");
  return {};
}

Parsed<void> FieldSummary::take(const Field& field, std::string_view line) {
  const auto is = [&](std::string_view name) { return equals_ignoring_case(field.name, name); };
  switch (field.name.size()) {
    case kHost.size():
      if (!is(kHost)) break;
      if (host) return refuse("more than one Host");
      host = field.value;
      if (!is_host(*host)) return refuse("Host is no host");
      return {};
    case std::string_view("expect").size():
      if (is("expect")) expects_continue = equals_ignoring_case(field.value, "100-continue");
      return {};
    case std::string_view("upgrade").size():
      if (is("upgrade")) return take_upgrade(field.value);
      return {};
    case std::string_view("connection").size():
      if (is("connection")) return take_connection(field.value);
      return {};
    case kContentLength.size():
      if (is(kContentLength)) return take_content_length(field, line);
      if (is_twin(field.name, kContentLength)) return refuse("Content_Length");
      return {};
    case kTransferEncoding.size():
      if (is(kTransferEncoding)) return take_transfer_encoding(field, line);
      if (is_twin(field.name, kTransferEncoding)) return refuse("Transfer_Encoding");
      return {};
    default:
      break;
  }
  return {};
}

Parsed<void> FieldSummary::finish(Version version) const {
  if (chunked && content_length) return refuse("both Content-Length and Transfer-Encoding");
  if (chunked && version == Version::kHttp10) return refuse("Transfer-Encoding in HTTP/1.0");
  return {};
}

}  // namespace clonesafe::wire::http1
