#include "proxy/admin/call.h"

#include <cstdint>
#include <string_view>
#include <utility>

namespace clonesafe::proxy {
namespace {

namespace json = boost::json;

constexpr std::pair<std::string_view, CallKind> kCalls[] = {
    {"status", CallKind::kStatus},       {"sessions", CallKind::kSessions},
    {"upstreams", CallKind::kUpstreams}, {"metrics", CallKind::kMetrics},
    {"pause", CallKind::kPause},         {"resume", CallKind::kResume},
    {"drain", CallKind::kDrain},         {"fence", CallKind::kFence},
    {"reload", CallKind::kReload}};
constexpr std::int64_t kMostSessions = 1'000;
constexpr std::int64_t kLongestGrace = 86'400'000;

std::string names() {
  std::string text;
  for (const auto& [name, kind] : kCalls) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

Result<CallKind> kind_of(const json::object& request) {
  const json::value* const call = request.if_contains("call");
  if (call == nullptr || !call->is_string()) return fail("there is no \"call\"; known: " + names());
  for (const auto& [name, kind] : kCalls) {
    if (std::string_view(call->get_string()) == name) return kind;
  }
  return fail("unknown call; known: " + names());
}

Result<std::int64_t> number(std::string_view name, const json::value& value, std::int64_t lowest,
                            std::int64_t highest) {
  if (!value.is_int64() || value.get_int64() < lowest || value.get_int64() > highest)
    return fail("\"" + std::string(name) + "\" is not a whole number from " +
                std::to_string(lowest) + " to " + std::to_string(highest));
  return value.get_int64();
}

}  // namespace

Result<Call> parse_call(const json::object& request) {
  const auto kind = kind_of(request);
  if (!kind) return fail(kind.error());
  Call call{.kind = *kind};
  for (const auto& member : request) {
    const std::string_view name(member.key().data(), member.key().size());
    if (name == "call" || name == "version") continue;
    if (name == "limit" && *kind == CallKind::kSessions) {
      const auto limit = number(name, member.value(), 1, kMostSessions);
      if (!limit) return fail(limit.error());
      call.limit = static_cast<std::size_t>(*limit);
    } else if (name == "grace_ms" && *kind == CallKind::kDrain) {
      const auto grace = number(name, member.value(), 0, kLongestGrace);
      if (!grace) return fail(grace.error());
      call.grace = std::chrono::milliseconds(*grace);
    } else {
      return fail("a member that this call does not have");
    }
  }
  return call;
}

}  // namespace clonesafe::proxy
