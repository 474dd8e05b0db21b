#include "proxy/wire/postgres/protocol.h"

namespace clonesafe::wire::postgres {

std::string_view name_of(ClientMessage type) {
  switch (type) {
    case ClientMessage::kBind:
      return "Bind";
    case ClientMessage::kClose:
      return "Close";
    case ClientMessage::kCopyData:
      return "CopyData";
    case ClientMessage::kCopyDone:
      return "CopyDone";
    case ClientMessage::kCopyFail:
      return "CopyFail";
    case ClientMessage::kDescribe:
      return "Describe";
    case ClientMessage::kExecute:
      return "Execute";
    case ClientMessage::kFlush:
      return "Flush";
    case ClientMessage::kFunctionCall:
      return "FunctionCall";
    case ClientMessage::kParse:
      return "Parse";
    case ClientMessage::kPassword:
      return "PasswordMessage";
    case ClientMessage::kQuery:
      return "Query";
    case ClientMessage::kSync:
      return "Sync";
    case ClientMessage::kTerminate:
      return "Terminate";
  }
  return {};
}

std::string_view name_of(ServerMessage type) {
  switch (type) {
    case ServerMessage::kAuthentication:
      return "Authentication";
    case ServerMessage::kBackendKeyData:
      return "BackendKeyData";
    case ServerMessage::kBindComplete:
      return "BindComplete";
    case ServerMessage::kCloseComplete:
      return "CloseComplete";
    case ServerMessage::kCommandComplete:
      return "CommandComplete";
    case ServerMessage::kCopyBothResponse:
      return "CopyBothResponse";
    case ServerMessage::kCopyData:
      return "CopyData";
    case ServerMessage::kCopyDone:
      return "CopyDone";
    case ServerMessage::kCopyInResponse:
      return "CopyInResponse";
    case ServerMessage::kCopyOutResponse:
      return "CopyOutResponse";
    case ServerMessage::kDataRow:
      return "DataRow";
    case ServerMessage::kEmptyQueryResponse:
      return "EmptyQueryResponse";
    case ServerMessage::kErrorResponse:
      return "ErrorResponse";
    case ServerMessage::kFunctionCallResponse:
      return "FunctionCallResponse";
    case ServerMessage::kNegotiateProtocolVersion:
      return "NegotiateProtocolVersion";
    case ServerMessage::kNoData:
      return "NoData";
    case ServerMessage::kNoticeResponse:
      return "NoticeResponse";
    case ServerMessage::kNotificationResponse:
      return "NotificationResponse";
    case ServerMessage::kParameterDescription:
      return "ParameterDescription";
    case ServerMessage::kParameterStatus:
      return "ParameterStatus";
    case ServerMessage::kParseComplete:
      return "ParseComplete";
    case ServerMessage::kPortalSuspended:
      return "PortalSuspended";
    case ServerMessage::kReadyForQuery:
      return "ReadyForQuery";
    case ServerMessage::kRowDescription:
      return "RowDescription";
  }
  return {};
}

}  // namespace clonesafe::wire::postgres
