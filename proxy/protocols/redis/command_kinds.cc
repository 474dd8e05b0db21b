#include "proxy/protocols/redis/command_kinds.h"

namespace clonesafe::proxy::redis {

using wire::resp::ClientCommand;
using wire::resp::Command;
using wire::resp::CommandInfo;
using wire::resp::PushKind;

namespace {

bool silences(const std::vector<std::string>& arguments) {
  return arguments.size() > 2 &&
         wire::resp::find_client_command(arguments[1]) == ClientCommand::kReply &&
         arguments[2].size() != 2;  // "ON", in any case
}

}  // namespace

bool is_repeatable(const CommandInfo& command) {
  switch (command.command) {
    case Command::kAsking:
    case Command::kAuth:
    case Command::kClient:
    case Command::kHello:
    case Command::kMulti:
    case Command::kPatternSubscribe:
    case Command::kPatternUnsubscribe:
    case Command::kPing:
    case Command::kReadOnly:
    case Command::kReadWrite:
    case Command::kReset:
    case Command::kSelect:
    case Command::kShardSubscribe:
    case Command::kShardUnsubscribe:
    case Command::kSubscribe:
    case Command::kUnsubscribe:
    case Command::kUnwatch:
    case Command::kWatch:
    case Command::kQuit:
      return true;
    default:
      return command.has(wire::resp::kRetryable) && !command.has(wire::resp::kBlocks);
  }
}

bool subscribes(Command command) {
  return command == Command::kSubscribe || command == Command::kPatternSubscribe ||
         command == Command::kShardSubscribe;
}

PushKind confirmation_of(Command command) {
  switch (command) {
    case Command::kSubscribe:
      return PushKind::kSubscribe;
    case Command::kPatternSubscribe:
      return PushKind::kPatternSubscribe;
    case Command::kShardSubscribe:
      return PushKind::kShardSubscribe;
    case Command::kUnsubscribe:
      return PushKind::kUnsubscribe;
    case Command::kPatternUnsubscribe:
      return PushKind::kPatternUnsubscribe;
    case Command::kShardUnsubscribe:
      return PushKind::kShardUnsubscribe;
    default:
      return PushKind::kNone;
  }
}

bool opens_tunnel(Command command, const std::vector<std::string>& arguments, bool in_transaction) {
  switch (command) {
    case Command::kMonitor:
    case Command::kReplicate:
      return true;
    case Command::kClient:
      return silences(arguments);
    default:
      // EXEC's reply has the confirmations in it.
      return in_transaction && confirmation_of(command) != PushKind::kNone;
  }
}

}  // namespace clonesafe::proxy::redis
