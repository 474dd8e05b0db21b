// Private to session_calls.cc and session_snapshot.cc: what requests and replies are made of.
#ifndef CLONESAFE_VMM_DEVICE_MACHINE_SESSION_JSON_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_SESSION_JSON_H_

#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/agent_channel/messages.h"

namespace clonesafe {

inline boost::json::object api_done() {
  return {{"ok", true}};
}

std::string hex(std::span<const std::byte> bytes);
std::string hex(std::uint64_t number);

boost::json::array repairs_of(const std::vector<agent_channel::RepairResult>& results);

// The text of a member, `otherwise` if it is absent; an error if it is anything but one of `values`
// (any text, if there are none).
Result<std::string> text_member(const boost::json::object& request, std::string_view name,
                                std::string otherwise,
                                std::initializer_list<std::string_view> values = {});

// The whole number of a member, `otherwise` if it is absent; an error if it isn't from `least` to
// `most`.
Result<std::int64_t> number_member(const boost::json::object& request, std::string_view name,
                                   std::int64_t otherwise, std::int64_t least, std::int64_t most);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_SESSION_JSON_H_
