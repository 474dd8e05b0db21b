#include "guest_agent/sources/iomem.h"

#include <algorithm>
#include <string>

#include "guest_agent/base/bytes.h"
#include "guest_agent/base/files.h"

namespace clonesafe::agent {
namespace {

bool is_device(std::string_view name, std::string_view hid) {
  if (!name.starts_with(hid)) return false;
  name.remove_prefix(hid.size());
  // The instance: ":00".
  return name.size() > 1 && name.front() == ':' &&
         std::all_of(name.begin() + 1, name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
         });
}

}  // namespace

Result<PhysicalRange> find_in_iomem(std::string_view iomem, std::string_view hid) {
  while (!iomem.empty()) {
    const std::size_t end = std::min(iomem.find('\n'), iomem.size());
    const std::string_view line = trim(iomem.substr(0, end));
    iomem.remove_prefix(std::min(end + 1, iomem.size()));

    const std::size_t colon = line.find(" : ");
    if (colon == std::string_view::npos || !is_device(trim(line.substr(colon + 3)), hid)) continue;
    const std::string_view range = trim(line.substr(0, colon));
    const std::size_t dash = range.find('-');
    const auto first = parse_hex(range.substr(0, std::min(dash, range.size())));
    const auto last =
        dash == std::string_view::npos ? std::nullopt : parse_hex(range.substr(dash + 1));
    if (!first || !last || *last < *first) {
      return fail("the line '" + std::string(line) + "' is not a range of addresses");
    }
    // Without CAP_SYS_ADMIN the kernel prints zeros.
    if (*last == 0) return fail("the address of " + std::string(hid) + " is hidden from this user");
    return PhysicalRange{.start = *first, .size = *last - *first + 1};
  }
  return fail("no " + std::string(hid) + " device");
}

}  // namespace clonesafe::agent
