#include <algorithm>
#include <charconv>

#include "proxy/wire/proxy_protocol/format.h"

namespace clonesafe::wire::proxy_protocol {
namespace {

// The next word, and the space behind it. Nothing if there is none.
std::optional<std::string_view> take_word(std::string_view& rest) {
  if (rest.empty()) return std::nullopt;
  const std::size_t end = rest.find(' ');
  const std::string_view word = rest.substr(0, end);
  // A space has to separate two words.
  if (end != rest.npos && end + 1 == rest.size()) return std::nullopt;
  rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  return word;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (text.starts_with('0') && text != "0") return std::nullopt;
  return port;
}

}  // namespace

// 2.1: "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".
Result<std::optional<Header>> parse_text(std::string_view input) {
  const std::size_t end = input.find_first_of(kLineEnd);
  if (std::min(end, input.size()) > kTextMax - kLineEnd.size())
    return fail("PROXY header: a line of more than " + std::to_string(kTextMax) + " bytes");
  if (end == input.npos) return std::nullopt;
  const std::string_view line_end = input.substr(end, kLineEnd.size());
  if (!kLineEnd.starts_with(line_end)) return fail("PROXY header: the line doesn't end with CRLF");
  if (line_end.size() < kLineEnd.size()) return std::nullopt;

  Header header{.version = 1, .size = end + kLineEnd.size()};
  std::string_view rest = input.substr(0, end).substr(kTextPrefix.size());
  const auto family = take_word(rest);
  // What else a line of this kind says is not to be looked at.
  if (family == "UNKNOWN") return header;
  if (family != "TCP4" && family != "TCP6")
    return fail("PROXY header: neither TCP4, TCP6 nor UNKNOWN");
  header.transport = family == "TCP4" ? Transport::kTcp4 : Transport::kTcp6;
  const auto parse_ip = family == "TCP4" ? parse_ipv4 : parse_ipv6;
  for (Address* const address : {&header.source, &header.destination}) {
    const auto text = take_word(rest);
    if (!text || !parse_ip(*text, *address))
      return fail("PROXY header: an address that is not of " + std::string(*family));
  }
  for (Address* const address : {&header.source, &header.destination}) {
    const auto text = take_word(rest);
    const auto port = text ? parse_port(*text) : std::nullopt;
    if (!port) return fail("PROXY header: a port that is no number up to 65535");
    address->port = *port;
  }
  if (!rest.empty()) return fail("PROXY header: more than two addresses and two ports");
  return header;
}

}  // namespace clonesafe::wire::proxy_protocol
