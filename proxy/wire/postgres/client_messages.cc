#include "proxy/wire/postgres/client_messages.h"

#include <limits>

#include "proxy/wire/postgres/body_reader.h"
#include "proxy/wire/postgres/body_writer.h"

namespace clonesafe::wire::postgres {
namespace {

BodyReader reader_of(ClientMessage type, std::string_view body) {
  return {name_of(type), body};
}

Result<std::string_view> parse_text(ClientMessage type, std::string_view body) {
  auto reader = reader_of(type, body);
  const auto text = reader.text();
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return text;
}

Result<Target> parse_target(ClientMessage type, std::string_view body) {
  auto reader = reader_of(type, body);
  const auto kind = static_cast<char>(reader.u8());
  if (kind != 'S' && kind != 'P') reader.refuse(printable_byte(kind) + " is neither 'S' nor 'P'");
  const Target target{.kind = static_cast<Target::Kind>(kind), .name = reader.text()};
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return target;
}

Status append_text(std::string& out, ClientMessage type, std::string_view text) {
  BodyWriter writer(out, type);
  writer.text(text);
  return writer.finish();
}

Status append_target(std::string& out, ClientMessage type, const Target& target) {
  BodyWriter writer(out, type);
  writer.u8(static_cast<std::uint8_t>(target.kind));
  writer.text(target.name);
  return writer.finish();
}

void append_empty(std::string& out, ClientMessage type) {
  BodyWriter writer(out, type);
  static_cast<void>(writer.finish());
}

}  // namespace

Result<std::string_view> parse_query(std::string_view body) {
  return parse_text(ClientMessage::kQuery, body);
}

Result<Parse> parse_parse(std::string_view body) {
  auto reader = reader_of(ClientMessage::kParse, body);
  Parse parse;
  parse.statement = reader.text();
  parse.query = reader.text();
  parse.type_count = reader.u16();
  parse.types = reader.bytes(parse.type_count * sizeof(std::uint32_t));
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return parse;
}

Result<BindNames> parse_bind_names(std::string_view head) {
  auto reader = reader_of(ClientMessage::kBind, head);
  BindNames names;
  names.portal = reader.text();
  names.statement = reader.text();
  names.size = reader.position();
  if (auto status = reader.status(); !status) return fail(std::move(status).error());
  return names;
}

Result<Target> parse_describe(std::string_view body) {
  return parse_target(ClientMessage::kDescribe, body);
}

Result<Target> parse_close(std::string_view body) {
  return parse_target(ClientMessage::kClose, body);
}

Result<Execute> parse_execute(std::string_view body) {
  auto reader = reader_of(ClientMessage::kExecute, body);
  Execute execute;
  execute.portal = reader.text();
  execute.max_rows = reader.i32();
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return execute;
}

Result<std::uint32_t> parse_function_call(std::string_view head) {
  auto reader = reader_of(ClientMessage::kFunctionCall, head);
  const auto function = reader.u32();
  if (auto status = reader.status(); !status) return fail(std::move(status).error());
  return function;
}

Result<std::string_view> parse_copy_fail(std::string_view body) {
  return parse_text(ClientMessage::kCopyFail, body);
}

Result<std::string_view> parse_password(std::string_view body) {
  return parse_text(ClientMessage::kPassword, body);
}

Result<SaslInitialResponse> parse_sasl_initial_response(std::string_view body) {
  BodyReader reader("SASLInitialResponse", body);
  SaslInitialResponse response;
  response.mechanism = reader.text();
  const auto size = reader.i32();
  if (size >= 0)
    response.response = reader.bytes(static_cast<std::size_t>(size));
  else if (size != -1)
    reader.refuse("a response of " + std::to_string(size) + " bytes");
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return response;
}

Status append_query(std::string& out, std::string_view query) {
  return append_text(out, ClientMessage::kQuery, query);
}

Status append_parse(std::string& out, const Parse& parse) {
  BodyWriter writer(out, ClientMessage::kParse);
  writer.text(parse.statement);
  writer.text(parse.query);
  writer.u16(parse.type_count);
  writer.bytes(parse.types);
  if (parse.types.size() != parse.type_count * sizeof(std::uint32_t))
    writer.refuse(std::to_string(parse.types.size()) + " bytes of " +
                  std::to_string(parse.type_count) + " types");
  return writer.finish();
}

Status append_bind_names(std::string& out, std::string_view portal, std::string_view statement,
                         std::size_t rest) {
  BodyWriter writer(out, ClientMessage::kBind);
  writer.text(portal);
  writer.text(statement);
  writer.announce(rest);
  return writer.finish();
}

Status append_bind(std::string& out, std::string_view portal, std::string_view statement,
                   std::span<const std::optional<std::string_view>> values) {
  BodyWriter writer(out, ClientMessage::kBind);
  writer.text(portal);
  writer.text(statement);
  writer.u16(0);  // formats: all text
  if (values.size() > std::numeric_limits<std::uint16_t>::max())
    writer.refuse(std::to_string(values.size()) + " values");
  writer.u16(static_cast<std::uint16_t>(values.size()));
  for (const auto& value : values) {
    if (value && value->size() > kMaxLength) writer.refuse("a value that is too long");
    writer.i32(value ? static_cast<std::int32_t>(value->size()) : -1);
    writer.bytes(value.value_or(""));
  }
  writer.u16(0);  // formats of results: all text
  return writer.finish();
}

Status append_describe(std::string& out, const Target& target) {
  return append_target(out, ClientMessage::kDescribe, target);
}

Status append_close(std::string& out, const Target& target) {
  return append_target(out, ClientMessage::kClose, target);
}

Status append_execute(std::string& out, const Execute& execute) {
  BodyWriter writer(out, ClientMessage::kExecute);
  writer.text(execute.portal);
  writer.i32(execute.max_rows);
  return writer.finish();
}

Status append_copy_fail(std::string& out, std::string_view reason) {
  return append_text(out, ClientMessage::kCopyFail, reason);
}

Status append_password(std::string& out, std::string_view password) {
  return append_text(out, ClientMessage::kPassword, password);
}

Status append_sasl_initial_response(std::string& out, const SaslInitialResponse& response) {
  BodyWriter writer(out, ClientMessage::kPassword);
  writer.text(response.mechanism);
  writer.i32(response.response ? static_cast<std::int32_t>(response.response->size()) : -1);
  writer.bytes(response.response.value_or(""));
  return writer.finish();
}

Status append_sasl_response(std::string& out, std::string_view response) {
  BodyWriter writer(out, ClientMessage::kPassword);
  writer.bytes(response);
  return writer.finish();
}

void append_sync(std::string& out) {
  append_empty(out, ClientMessage::kSync);
}
void append_flush(std::string& out) {
  append_empty(out, ClientMessage::kFlush);
}
void append_copy_done(std::string& out) {
  append_empty(out, ClientMessage::kCopyDone);
}
void append_terminate(std::string& out) {
  append_empty(out, ClientMessage::kTerminate);
}

}  // namespace clonesafe::wire::postgres
