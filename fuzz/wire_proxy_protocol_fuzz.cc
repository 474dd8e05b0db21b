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

void check_written(const Header& header, bool checksum) {
  std::string bytes;
  require(append_header(bytes, header, checksum).has_value());
  const auto again = parse_header(bytes, {.size = 1u << 20});
  require(again && *again);
  const Header& twin = **again;
  require(twin.size == bytes.size() && twin.version == header.version &&
          (twin.version == 1 || twin.command == header.command) &&
          twin.transport == header.transport && twin.source == header.source &&
          twin.destination == header.destination);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto whole = parse_header(bytes, {.size = 512});
  bool decided = false;
  for (std::size_t given = 0; given <= std::min<std::size_t>(size, 600); ++given) {
    const auto header = parse_header(bytes.substr(0, given), {.size = 512});
    if (header && !*header) {
      require(!decided);
      continue;
    }
    decided = true;
    require(header.has_value() == whole.has_value());
    if (!header) {
      require(header.error().message() == whole.error().message());
      continue;
    }
    require(*whole && (*header)->size == (*whole)->size && (*header)->size <= given);
  }
  if (!whole || !*whole) return 0;
  check_written(**whole, false);
  check_written(**whole, true);
  return 0;
}
