#include "guest_agent/sources/devices.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "guest_agent/base/files.h"

namespace clonesafe::agent {
namespace {

constexpr std::size_t kTableLimit = 1U << 20;

}  // namespace

Result<PhysicalRange> find_device(std::string_view iomem, std::string_view hid) {
  const IomemEntry entry = find_in_iomem(iomem, hid);
  switch (entry.condition) {
    case IomemEntry::Condition::kFound:
      return entry.range;
    case IomemEntry::Condition::kMalformed:
      return fail("the line '" + std::string(entry.line) + "' is not a range of addresses");
    case IomemEntry::Condition::kHidden:
      return fail("the address of " + std::string(hid) + " is hidden from this user");
    case IomemEntry::Condition::kAbsent:
      break;
  }
  return fail("no " + std::string(hid) + " device");
}

Result<VmgenidLocation> find_vmgenid_in_tables(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name == "DSDT" || name.starts_with("SSDT")) names.push_back(name);
  }
  if (error) return fail("list of " + folder + ": " + error.message());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const auto table = read_file(folder + "/" + name, kTableLimit);
    if (!table) return fail(table.error());
    if (auto found = find_vmgenid(std::as_bytes(std::span(*table)))) return *found;
  }
  if (names.empty()) return fail("no DSDT in " + folder);
  return fail("no VMGENID device of a known shape in " + folder);
}

}  // namespace clonesafe::agent
