#include "vmm_device/machine/session_json.h"

#include <cstdio>

namespace clonesafe {
namespace json = boost::json;

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(byte));
    text += digits;
  }
  return text;
}

std::string hex(std::uint64_t number) {
  char text[20];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(number));
  return text;
}

json::array repairs_of(const std::vector<agent_channel::RepairResult>& results) {
  json::array list;
  for (const agent_channel::RepairResult& repair : results)
    list.push_back(json::object{{"name", repair.name},
                                {"result", repair.result},
                                {"us", repair.us},
                                {"detail", repair.detail}});
  return list;
}

Result<std::string> text_member(const json::object& request, std::string_view name,
                                std::string otherwise,
                                std::initializer_list<std::string_view> values) {
  const json::value* value = request.if_contains(json::string_view(name.data(), name.size()));
  if (value == nullptr) return otherwise;
  if (!value->is_string()) return fail("\"" + std::string(name) + "\" is not a string");
  std::string text(value->get_string());
  std::string expected;
  for (const std::string_view allowed : values) {
    if (text == allowed) return text;
    expected += (expected.empty() ? "\"" : " or \"") + std::string(allowed) + "\"";
  }
  if (values.size() != 0) return fail("\"" + std::string(name) + "\" must be " + expected);
  return text;
}

Result<std::int64_t> number_member(const json::object& request, std::string_view name,
                                   std::int64_t otherwise, std::int64_t least, std::int64_t most) {
  const json::value* value = request.if_contains(json::string_view(name.data(), name.size()));
  if (value == nullptr) return otherwise;
  boost::system::error_code error;
  const auto given = value->is_number() ? value->to_number<std::int64_t>(error) : least - 1;
  if (error || given < least || given > most)
    return fail("\"" + std::string(name) + "\" must be " + std::to_string(least) + " to " +
                std::to_string(most));
  return given;
}

}  // namespace clonesafe
