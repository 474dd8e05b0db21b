#include "proxy/wire/postgres/error_response.h"

#include <algorithm>

#include "proxy/wire/postgres/body_reader.h"
#include "proxy/wire/postgres/body_writer.h"

namespace clonesafe::wire::postgres {
namespace {

constexpr std::size_t kSqlstateSize = 5;

bool is_sqlstate(std::string_view text) {
  return text.size() == kSqlstateSize && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
         });
}

std::string_view* field_of(ErrorFields& fields, char code) {
  switch (code) {
    case 'V':
      return &fields.severity;
    case 'C':
      return &fields.sqlstate;
    case 'M':
      return &fields.message;
    case 'D':
      return &fields.detail;
    case 'H':
      return &fields.hint;
    default:
      return nullptr;
  }
}

Status append(std::string& out, ServerMessage type, const ErrorFields& fields) {
  BodyWriter writer(out, type);
  const auto field = [&](char code, std::string_view value) {
    if (value.empty()) return;
    writer.u8(static_cast<std::uint8_t>(code));
    writer.text(value);
  };
  field('S', fields.severity);
  field('V', fields.severity);
  field('C', fields.sqlstate);
  field('M', fields.message);
  field('D', fields.detail);
  field('H', fields.hint);
  writer.u8(0);
  if (fields.severity.empty() || fields.message.empty()) writer.refuse("no severity or no message");
  if (!is_sqlstate(fields.sqlstate)) writer.refuse("no SQLSTATE");
  return writer.finish();
}

}  // namespace

Result<ErrorFields> parse_error_fields(std::string_view body, bool whole) {
  BodyReader reader("ErrorResponse", body);
  ErrorFields fields;
  std::string_view localized;
  bool ended = false;
  while (reader.good() && !ended) {
    if (!whole && reader.left() == 0) break;
    const auto code = static_cast<char>(reader.u8());
    ended = code == '\0';
    if (ended || !reader.good()) break;
    const auto text = reader.text();
    if (!reader.good()) break;
    if (code == 'S') localized = text;
    if (auto* field = field_of(fields, code)) *field = text;
  }
  const bool cut = !whole && !ended;
  if (!cut) {
    if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  }
  // Servers before 9.6 have only the translated one.
  if (fields.severity.empty()) fields.severity = localized;
  if (fields.severity.empty() || !is_sqlstate(fields.sqlstate))
    return fail("PostgreSQL ErrorResponse: no severity or no SQLSTATE");
  return fields;
}

Status append_error(std::string& out, const ErrorFields& fields) {
  return append(out, ServerMessage::kErrorResponse, fields);
}

Status append_notice(std::string& out, const ErrorFields& fields) {
  return append(out, ServerMessage::kNoticeResponse, fields);
}

}  // namespace clonesafe::wire::postgres
