#include "guest_agent/repairs/hostname.h"

#include <algorithm>

#include "guest_agent/base/files.h"

namespace clonesafe::agent {
namespace {

constexpr std::size_t kLongest = 64;

std::string with(std::string text, std::string_view mark, std::string_view value) {
  for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size()) {
    text.replace(at, mark.size(), value);
  }
  return text;
}

bool is_hostname(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.';
  });
}

}  // namespace

Result<std::string> make_hostname(std::string_view pattern, std::string_view base,
                                  std::uint64_t generation) {
  const std::string digits = hex(generation);
  std::string eight = std::string(16 - digits.size(), '0') + digits;
  eight.resize(8);
  const std::string frame = with(std::string(pattern), "{generation}", eight);
  // From the longest base that may fit to none.
  for (std::size_t size = std::min(base.size(), kLongest) + 1; size-- > 0;) {
    std::string name = with(frame, "{base}", base.substr(0, size));
    if (name.size() > kLongest) continue;
    if (!is_hostname(name)) break;
    return name;
  }
  return fail("the pattern '" + std::string(pattern) + "' doesn't make a host name");
}

// The state file holds the base and the name that was made of it; a name that somebody else set in
// between is a new base.
std::string HostnameRepair::base(const std::string& current) {
  if (const auto state = read_file(state_file_, 256)) {
    const std::size_t end = state->find('\n');
    if (end != std::string::npos && trim(std::string_view(*state).substr(end)) == current) {
      return state->substr(0, end);
    }
  }
  // "(none)" is the kernel's own, before anybody gave a name.
  return current.empty() || current == "(none)" ? std::string("localhost") : current;
}

Repair::Finding HostnameRepair::run(const RepairEvent& event) {
  if (!event.new_identity()) return skipped("this restore keeps the machine's identity");
  if (pattern_.empty()) return skipped("not configured");
  const auto current = kernel_.hostname();
  if (!current) return failed(current.error().message());
  const std::string base_name = base(*current);
  const auto name = make_hostname(pattern_, base_name, event.restore.generation);
  if (!name) return failed(name.error().message());
  if (auto set = kernel_.set_hostname(*name); !set) return failed(set.error().message());
  const auto back = kernel_.hostname();
  if (!back) return failed(back.error().message());
  if (*back != *name) return failed("the kernel doesn't show the new host name");
  constexpr mode_t kMode = 0600;
  if (auto kept = replace_file(state_file_, base_name + "\n" + *name + "\n", kMode); !kept) {
    return ok(*name + "; the next clone's name will be longer: " + kept.error().message());
  }
  return ok(*name);
}

}  // namespace clonesafe::agent
