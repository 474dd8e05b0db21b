#include "proxy/wire/http1/head_writer.h"

#include <algorithm>

#include "proxy/wire/http1/characters.h"
#include "proxy/wire/http1/field_section.h"

namespace clonesafe::wire::http1 {
namespace {

constexpr std::string_view kHopByHop[] = {"connection", "keep-alive", "proxy-connection", "te",
                                          "upgrade"};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::ranges::any_of(
      names, [name](std::string_view other) { return equals_ignoring_case(name, other); });
}

bool named_by_connection(std::string_view name, const Head& head) {
  return std::ranges::any_of(head.fields, [name](const Field& field) {
    if (!equals_ignoring_case(field.name, "connection")) return false;
    std::string_view list = field.value;
    while (const auto option = take_element(list)) {
      if (equals_ignoring_case(*option, name)) return true;
    }
    return false;
  });
}

Status check(const HeadEdit& edit) {
  for (const std::string_view name : edit.drop) {
    if (decides_framing(name) && !equals_ignoring_case(name, "host"))
      return fail("a field that says where the message ends can't be left out");
  }
  for (const Field& field : edit.add) {
    if (!is_token(field.name)) return fail("the name of an added field is no token");
    if (!is_field_value(field.value) || trimmed(field.value) != field.value)
      return fail("the value of an added field can't stand in a head");
    if (decides_framing(field.name) && !(equals_ignoring_case(field.name, "host") &&
                                         is_one_of(field.name, edit.drop) && is_host(field.value)))
      return fail("a field that says where the message ends can't be added");
  }
  return {};
}

void append_field(std::string& out, const Field& field) {
  out.append(field.name).append(": ").append(field.value).append(kLineEnd);
}

void append_fields(std::string& out, const Head& head, const HeadEdit& edit, bool keep_upgrade) {
  for (const Field& field : head.fields) {
    if (is_one_of(field.name, edit.drop)) continue;
    if (edit.drop_hop_by_hop &&
        (is_hop_by_hop(field.name) || named_by_connection(field.name, head)))
      continue;
    append_field(out, field);
  }
  if (keep_upgrade && edit.drop_hop_by_hop && !head.upgrade.empty()) {
    append_field(out, {"Connection", "Upgrade"});
    append_field(out, {"Upgrade", head.upgrade});
  }
  for (const Field& field : edit.add) append_field(out, field);
  out.append(kLineEnd);
}

constexpr std::string_view text_of(Version version) {
  return version == Version::kHttp11 ? "HTTP/1.1" : "HTTP/1.0";
}

}  // namespace

bool is_hop_by_hop(std::string_view name) {
  return is_one_of(name, kHopByHop);
}

Status append_request_head(std::string& out, const RequestHead& head, const HeadEdit& edit) {
  if (auto valid = check(edit); !valid) return valid;
  if (!edit.target.empty() && !is_visible(edit.target))
    return fail("a target with spaces or control characters");
  out.append(head.method_name)
      .append(" ")
      .append(edit.target.empty() ? head.target : edit.target)
      .append(" ")
      .append(text_of(head.version))
      .append(kLineEnd);
  append_fields(out, head, edit, edit.keep_upgrade && !head.offers_h2c);
  return {};
}

Status append_response_head(std::string& out, const ResponseHead& head, const HeadEdit& edit) {
  if (auto valid = check(edit); !valid) return valid;
  out.append(text_of(head.version))
      .append(" ")
      .append(std::to_string(head.status))
      .append(" ")
      .append(head.reason)
      .append(kLineEnd);
  append_fields(out, head, edit, edit.keep_upgrade);
  return {};
}

}  // namespace clonesafe::wire::http1
