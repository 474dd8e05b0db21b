// What PostgreSQL's clients and servers send. The first byte says who does, the second how the rest
// is cut into reads: whatever it says, the outcome is that of one read. Bodies go to their parsers,
// and what a parser takes and a builder writes again is the same.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/require.h"
#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/error_response.h"
#include "proxy/wire/postgres/framer.h"
#include "proxy/wire/postgres/rows.h"
#include "proxy/wire/postgres/server_messages.h"
#include "proxy/wire/postgres/startup.h"

using namespace clonesafe;
using namespace clonesafe::wire::postgres;

namespace {

struct Message {
  char type;
  std::string first;
  std::string bytes;
  bool last = false;
};

struct Framed {
  std::vector<Message> messages;
  std::string error;
};

Framed frame(Framer framer, std::string_view stream, std::size_t read) {
  Framed framed;
  std::string all;
  for (std::size_t at = 0; at < stream.size(); at += read) {
    auto input = stream.substr(at, read);
    while (true) {
      const auto before = input.size();
      const auto piece = framer.next(input);
      require(input.size() <= before);
      if (!piece) {
        require_readable(piece.error());
        framed.error = piece.error().message();
        require(!framer.next(input));
        require(stream.starts_with(all));
        return framed;
      }
      if (!*piece) break;
      require(!(*piece)->bytes.empty());
      if ((*piece)->first)
        framed.messages.push_back({.type = (*piece)->type, .first = std::string((*piece)->bytes)});
      framed.messages.back().bytes += (*piece)->bytes;
      framed.messages.back().last = (*piece)->last;
      all += (*piece)->bytes;
    }
    require(input.empty());
  }
  require(stream.starts_with(all));
  require(framer.position() == stream.size());
  require(!framer.between_messages() || all == stream);
  return framed;
}

void require_same(const Framed& a, const Framed& b, bool firsts) {
  // Of what passes, a read that ends in it may have begun more; whole messages and heads are equal.
  require(a.error == b.error && a.messages.size() == b.messages.size());
  for (std::size_t i = 0; i < a.messages.size(); ++i) {
    require(a.messages[i].type == b.messages[i].type);
    require(a.messages[i].bytes == b.messages[i].bytes);
    require(a.messages[i].last == b.messages[i].last);
    if (firsts) require(a.messages[i].first == b.messages[i].first);
  }
}

template <typename Parsed, typename Append>
void require_rewritten(const Parsed& parsed, std::string_view message, Append append) {
  if (!parsed) return require_readable(parsed.error());
  std::string out;
  require(append(out, *parsed).has_value());
  require(out == message);
}

void read_client(const Message& message) {
  const auto body = std::string_view(message.bytes).substr(kHeaderSize);
  switch (static_cast<ClientMessage>(message.type)) {
    case ClientMessage::kQuery:
      return require_rewritten(parse_query(body), message.bytes, append_query);
    case ClientMessage::kParse:
      return require_rewritten(parse_parse(body), message.bytes, append_parse);
    case ClientMessage::kBind:
      return require_rewritten(
          parse_bind_names(body), message.bytes, [&](std::string& out, const BindNames& names) {
            auto status =
                append_bind_names(out, names.portal, names.statement, body.size() - names.size);
            out += body.substr(names.size);
            return status;
          });
    case ClientMessage::kDescribe:
      return require_rewritten(parse_describe(body), message.bytes, append_describe);
    case ClientMessage::kClose:
      return require_rewritten(parse_close(body), message.bytes, append_close);
    case ClientMessage::kExecute:
      return require_rewritten(parse_execute(body), message.bytes, append_execute);
    case ClientMessage::kCopyFail:
      return require_rewritten(parse_copy_fail(body), message.bytes, append_copy_fail);
    case ClientMessage::kPassword:
      require_rewritten(parse_password(body), message.bytes, append_password);
      return require_rewritten(parse_sasl_initial_response(body), message.bytes,
                               append_sasl_initial_response);
    case ClientMessage::kFunctionCall:
      static_cast<void>(parse_function_call(body));
      return;
    default:
      return;
  }
}

void read_server(const Message& message) {
  const auto body = std::string_view(message.bytes).substr(kHeaderSize);
  switch (static_cast<ServerMessage>(message.type)) {
    case ServerMessage::kAuthentication:
      if (const auto read = parse_authentication(body)) {
        static_cast<void>(read->offers("SCRAM-SHA-256"));
        require(!authentication_name(read->kind).empty());
      }
      return;
    case ServerMessage::kParameterStatus:
      return require_rewritten(parse_parameter_status(body), message.bytes,
                               append_parameter_status);
    case ServerMessage::kBackendKeyData:
      return require_rewritten(parse_backend_key_data(body, kVersion32), message.bytes,
                               append_backend_key_data);
    case ServerMessage::kReadyForQuery:
      return require_rewritten(parse_ready_for_query(body), message.bytes,
                               [](std::string& out, TransactionStatus status) {
                                 append_ready_for_query(out, status);
                                 return Status();
                               });
    case ServerMessage::kCommandComplete:
      require_rewritten(parse_command_complete(body), message.bytes, append_command_complete);
      if (const auto tag = parse_command_complete(body))
        require(tag->starts_with(command_of(*tag)));
      return;
    case ServerMessage::kNotificationResponse:
      return require_rewritten(parse_notification(body), message.bytes, append_notification);
    case ServerMessage::kNegotiateProtocolVersion:
      return require_rewritten(parse_negotiate_protocol_version(body, 100), message.bytes,
                               append_negotiate_protocol_version);
    case ServerMessage::kRowDescription:
      return require_rewritten(parse_row_description(body), message.bytes, append_row_description);
    case ServerMessage::kDataRow: {
      std::vector<Value> row(body.size() < 2 ? 0 : static_cast<unsigned char>(body[1]));
      if (parse_data_row(body, row)) {
        std::string out;
        require(append_data_row(out, row).has_value());
        require(out == message.bytes);
      }
      return;
    }
    case ServerMessage::kErrorResponse:
    case ServerMessage::kNoticeResponse: {
      const auto read = parse_error_fields(body);
      if (!read) return require_readable(read.error());
      require(read->sqlstate.size() == 5);
      const auto head = parse_error_fields(body, false);
      require(head && head->message == read->message);
      return;
    }
    case ServerMessage::kParameterDescription:
      static_cast<void>(parse_parameter_description(body));
      return;
    case ServerMessage::kCopyInResponse:
      static_cast<void>(parse_copy_response(body));
      return;
    default:
      return;
  }
}

void read_startup(std::string_view stream, std::size_t read) {
  StartupFramer framer;
  std::string rewritten;
  std::string taken;
  for (std::size_t at = 0; at < stream.size(); at += read) {
    auto input = stream.substr(at, read);
    while (true) {
      const auto before = input;
      const auto packet = framer.next(input);
      require(before.ends_with(input));
      taken += before.substr(0, before.size() - input.size());
      if (!packet) {
        require_readable(packet.error());
        require(!framer.next(input));
        return;
      }
      if (!*packet) break;
      using enum StartupPacket::Kind;
      switch ((*packet)->kind) {
        case kStartup:
          require(append_startup(rewritten, (*packet)->version, (*packet)->parameters).has_value());
          break;
        case kCancel:
          require(append_cancel_request(rewritten, (*packet)->process, (*packet)->key).has_value());
          break;
        case StartupPacket::Kind::kTlsRequest:
          append_tls_request(rewritten);
          break;
        case StartupPacket::Kind::kGssRequest:
          append_gss_request(rewritten);
          break;
        case kTlsRecord:
          require(before == input);
          return;
      }
      require(rewritten == taken);
    }
    require(input.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > (1 << 16)) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data + 2), size - 2);
  const std::size_t read = std::max<std::size_t>(data[1], 1);
  const std::size_t whole = std::max<std::size_t>(stream.size(), 1);
  if ((data[0] & 3) == 3) {
    read_startup(stream, read);
    read_startup(stream, whole);
    return 0;
  }
  const bool client = (data[0] & 1) != 0;
  Framer framer(client ? Framer::From::kClient : Framer::From::kServer,
                {.max_whole = 4096, .max_head = 64});
  // Small limits and all of them; then with all messages whole.
  require_same(frame(framer, stream, read), frame(framer, stream, whole), false);
  framer.handle_all(Handling::kWhole);
  const auto framed = frame(framer, stream, whole);
  require_same(frame(framer, stream, read), framed, true);
  for (const auto& message : framed.messages) client ? read_client(message) : read_server(message);
  return 0;
}
