// A PROXY header of a peer: more bytes never change what fewer said, and what was read can be
// written and is read again as the same.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "proxy/wire/proxy_protocol/header.h"
#include "proxy/wire/proxy_protocol/tlv.h"

using namespace clonesafe;
using namespace clonesafe::wire::proxy_protocol;

namespace {

void require(bool good) {
  if (!good) std::abort();
}

std::optional<Header> header_of(const Result<std::optional<Header>>& parsed) {
  return parsed ? *parsed : std::nullopt;
}

void check_written(const Header& header, bool checksum) {
  std::string bytes;
  require(append_header(bytes, header, checksum).has_value());
  const auto twin = header_of(parse_header(bytes, {.size = 1u << 20}));
  if (!twin) std::abort();
  require(twin->size == bytes.size() && twin->version == header.version &&
          (twin->version == 1 || twin->command == header.command) &&
          twin->transport == header.transport && twin->source == header.source &&
          twin->destination == header.destination);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto whole = parse_header(bytes, {.size = 512});
  const auto expected = header_of(whole);
  bool decided = false;
  for (std::size_t given = 0; given <= std::min<std::size_t>(size, 600); ++given) {
    const auto parsed = parse_header(bytes.substr(0, given), {.size = 512});
    const auto header = header_of(parsed);
    if (parsed && !header) {
      require(!decided);
      continue;
    }
    decided = true;
    require(parsed.has_value() == whole.has_value() && header.has_value() == expected.has_value());
    if (header && expected) {
      require(header->size == expected->size && header->size <= given);
    } else {
      require(parsed.error().message() == whole.error().message());
    }
  }
  if (!expected) return 0;
  check_written(*expected, false);
  check_written(*expected, true);
  return 0;
}
