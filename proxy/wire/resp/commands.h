#ifndef CLONESAFE_PROXY_WIRE_RESP_COMMANDS_H_
#define CLONESAFE_PROXY_WIRE_RESP_COMMANDS_H_

#include <cstdint>
#include <string_view>

namespace clonesafe::wire::resp {

// What a proxy that keeps a session has to do with a command.
enum class Command : std::uint8_t {
  // Nothing: it is passed on. Its flags still say whether it may be sent twice.
  kOther,
  // A line of spaces, or an array of no arguments: it gets no reply.
  kEmpty,
  // POST and Host:, a browser that was led here. redis-server closes the connection.
  kCrossProtocol,
  kAsking,
  kAuth,
  kClient,
  kDiscard,
  kEval,
  kExec,
  kFcall,
  kFunction,
  kHello,
  kMonitor,
  kMulti,
  kPatternSubscribe,
  kPatternUnsubscribe,
  kPing,
  kQuit,
  kReadOnly,
  kReadWrite,
  kReplicate,  // SYNC, PSYNC and REPLCONF: the connection becomes a stream of writes
  kReset,
  kScript,
  kSelect,
  kShardSubscribe,
  kShardUnsubscribe,
  kSubscribe,
  kUnsubscribe,
  kUnwatch,
  kWatch,
};

enum CommandFlags : std::uint8_t {
  // Flag `readonly` of redis-server 7.0's COMMAND: sent twice, it changes nothing.
  kRetryable = 1,
  // It may wait for as long as it says; one that was sent may have taken something already.
  kBlocks = 2,
  // It changes what a session is, so its arguments must be known: CommandFramer waits for it whole,
  // and refuses it when it is too long.
  kWhole = 4,
  // Its second argument says whether it may be sent twice: it comes whole if it is short.
  kWholeIfShort = 8,
};

struct CommandInfo {
  std::string_view name;  // in capitals; empty for what is not in the table
  Command command = Command::kOther;
  std::uint8_t flags = 0;

  bool has(CommandFlags flag) const { return (flags & flag) != 0; }
};

// The longest name in the table; a longer one is not worth keeping.
extern const std::size_t kLongestCommandName;

// `name` in any case. Always refers to a constant.
const CommandInfo& find_command(std::string_view name);
// Of a container such as OBJECT: whether this subcommand has redis-server's flag `readonly`.
bool is_retryable(const CommandInfo& command, std::string_view subcommand);

// What CLIENT is asked for.
enum class ClientCommand : std::uint8_t {
  kOther,
  kCaching,
  kGetName,
  kGetRedir,
  kId,
  kInfo,
  kNoEvict,
  kNoTouch,
  kReply,
  kSetInfo,
  kSetName,
  kTracking,
};
ClientCommand find_client_command(std::string_view subcommand);

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_PROXY_WIRE_RESP_COMMANDS_H_
