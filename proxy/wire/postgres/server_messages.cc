#include "proxy/wire/postgres/server_messages.h"

#include <algorithm>

#include "proxy/wire/postgres/body_reader.h"
#include "proxy/wire/postgres/body_writer.h"

namespace clonesafe::wire::postgres {
namespace {

BodyReader reader_of(ServerMessage type, std::string_view body) {
  return {name_of(type), body};
}

// The fields are what was read only if all of them were there.
template <typename T>
Result<T> finish(BodyReader& reader, T fields) {
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return fields;
}

std::string key_problem(std::size_t size, const char* allowed) {
  return "a key of " + std::to_string(size) + " bytes, " + allowed + " are allowed";
}

}  // namespace

Result<Parameter> parse_parameter_status(std::string_view body) {
  auto reader = reader_of(ServerMessage::kParameterStatus, body);
  Parameter parameter;
  parameter.name = reader.text();
  parameter.value = reader.text();
  return finish(reader, parameter);
}

Status append_parameter_status(std::string& out, const Parameter& parameter) {
  BodyWriter writer(out, ServerMessage::kParameterStatus);
  writer.text(parameter.name);
  writer.text(parameter.value);
  return writer.finish();
}

Result<BackendKeyData> parse_backend_key_data(std::string_view body, std::uint32_t version) {
  auto reader = reader_of(ServerMessage::kBackendKeyData, body);
  BackendKeyData data;
  data.process = reader.u32();
  data.key = reader.rest();
  if (version < kVersion32 && data.key.size() != kKeySize30)
    reader.refuse(key_problem(data.key.size(), "4"));
  if (data.key.size() < kKeySize30 || data.key.size() > kMaxKeySize)
    reader.refuse(key_problem(data.key.size(), "4 to 256"));
  return finish(reader, data);
}

Status append_backend_key_data(std::string& out, const BackendKeyData& data) {
  BodyWriter writer(out, ServerMessage::kBackendKeyData);
  writer.u32(data.process);
  writer.bytes(data.key);
  if (data.key.size() < kKeySize30 || data.key.size() > kMaxKeySize)
    writer.refuse(key_problem(data.key.size(), "4 to 256"));
  return writer.finish();
}

Result<TransactionStatus> parse_ready_for_query(std::string_view body) {
  auto reader = reader_of(ServerMessage::kReadyForQuery, body);
  const auto status = static_cast<char>(reader.u8());
  if (status != 'I' && status != 'T' && status != 'E')
    reader.refuse("transaction status " + printable_byte(status));
  return finish(reader, static_cast<TransactionStatus>(status));
}

void append_ready_for_query(std::string& out, TransactionStatus status) {
  BodyWriter writer(out, ServerMessage::kReadyForQuery);
  writer.u8(static_cast<std::uint8_t>(status));
  static_cast<void>(writer.finish());
}

Result<std::string_view> parse_command_complete(std::string_view body) {
  auto reader = reader_of(ServerMessage::kCommandComplete, body);
  return finish(reader, reader.text());
}

std::string_view command_of(std::string_view tag) {
  const auto number = tag.find_first_of("0123456789");
  tag = tag.substr(0, number);
  while (tag.ends_with(' ')) tag.remove_suffix(1);
  return tag;
}

Status append_command_complete(std::string& out, std::string_view tag) {
  BodyWriter writer(out, ServerMessage::kCommandComplete);
  writer.text(tag);
  return writer.finish();
}

Result<Notification> parse_notification(std::string_view body) {
  auto reader = reader_of(ServerMessage::kNotificationResponse, body);
  Notification notification;
  notification.process = reader.u32();
  notification.channel = reader.text();
  notification.payload = reader.text();
  return finish(reader, notification);
}

Status append_notification(std::string& out, const Notification& notification) {
  BodyWriter writer(out, ServerMessage::kNotificationResponse);
  writer.u32(notification.process);
  writer.text(notification.channel);
  writer.text(notification.payload);
  return writer.finish();
}

Result<CopyResponse> parse_copy_response(std::string_view body) {
  BodyReader reader("CopyResponse", body);
  const auto format = reader.u8();
  if (format > 1) reader.refuse("format " + std::to_string(format));
  CopyResponse response{.binary = format == 1, .columns = reader.u16()};
  reader.bytes(response.columns * sizeof(std::uint16_t));
  return finish(reader, response);
}

Result<NegotiateProtocolVersion> parse_negotiate_protocol_version(std::string_view body,
                                                                  std::size_t max_options) {
  auto reader = reader_of(ServerMessage::kNegotiateProtocolVersion, body);
  NegotiateProtocolVersion negotiation;
  negotiation.version = reader.u32();
  if (negotiation.version >> 16 != kVersion30 >> 16)
    reader.refuse("version " + std::to_string(negotiation.version) + " isn't one of protocol 3");
  const auto count = reader.u32();
  if (count > max_options)
    reader.refuse(std::to_string(count) + " unknown options, " + std::to_string(max_options) +
                  " were asked for");
  for (std::uint32_t i = 0; i < count && reader.good(); ++i)
    negotiation.unknown_options.push_back(reader.text());
  return finish(reader, std::move(negotiation));
}

Status append_negotiate_protocol_version(std::string& out,
                                         const NegotiateProtocolVersion& negotiation) {
  BodyWriter writer(out, ServerMessage::kNegotiateProtocolVersion);
  writer.u32(negotiation.version);
  writer.u32(static_cast<std::uint32_t>(negotiation.unknown_options.size()));
  for (const auto option : negotiation.unknown_options) writer.text(option);
  return writer.finish();
}

void append_empty(std::string& out, ServerMessage type) {
  BodyWriter writer(out, type);
  static_cast<void>(writer.finish());
}

}  // namespace clonesafe::wire::postgres
