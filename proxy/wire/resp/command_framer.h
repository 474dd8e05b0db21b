// resp: Redis' and Valkey's protocol, RESP2 and RESP3, on the wire: where commands and replies
// begin and end, what they are, and how they are written. No I/O and no state of sessions.
#ifndef CLONESAFE_PROXY_WIRE_RESP_COMMAND_FRAMER_H_
#define CLONESAFE_PROXY_WIRE_RESP_COMMAND_FRAMER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/resp/commands.h"

namespace clonesafe::wire::resp {

// In bytes. A command as a whole has no limit but these: nothing of it is kept.
struct CommandLimits {
  std::uint64_t bulk = 512u << 20;      // one argument, as redis-server's proto-max-bulk-len
  std::uint64_t arguments = 1u << 20;   // redis-server before 7.0; since then 2^31 - 1
  std::size_t inline_line = 64u << 10;  // a command that was typed
  std::size_t whole = 1u << 20;         // a command that is handed out whole
};

struct CommandPart {
  // So many bytes at the beginning of the input. 0: more input is needed.
  std::size_t size = 0;
  bool first = false;
  bool last = false;
  // Of the command that the part is of, in each of its parts.
  const CommandInfo* command = nullptr;
  std::uint64_t arguments = 0;  // its name included

  // CommandArguments can read it.
  bool whole() const { return first && last; }
};

// Cuts what a client sends into commands, and long commands into parts that can be passed on.
// Takes arrays of bulk strings and lines, as redis-server 7.0 does, but only with CRLF where RESP
// has it: redis-server skips any two bytes behind an argument, others don't. The wording of errors
// is redis-server's where it has one ("Protocol error: invalid bulk length at byte 14").
//
// It keeps no bytes: what a part doesn't cover has to be given again, with more behind it. An input
// of max(inline_line + 2, whole) bytes is always enough for a part or an error.
// Not thread-safe; one per direction of a connection. After an error there are only errors.
class CommandFramer {
 public:
  explicit CommandFramer(CommandLimits limits = {}) : limits_(limits) {}

  Result<CommandPart> next(std::string_view input);

  // Between two commands; where a connection may end.
  bool at_start() const { return state_ == State::kStart && scanned_ == 0; }

 private:
  enum class State { kStart, kHeader, kName, kPayload, kPayloadEnd };

  Result<CommandPart> start(std::string_view input);
  Result<CommandPart> inline_command(std::string_view input);
  Result<CommandPart> argument(std::string_view input);
  Result<CommandPart> argument_header(std::string_view input);
  Status know(std::string_view name);
  Status within_whole(std::uint64_t more);
  // Nothing behind `scanned_` can be read yet.
  CommandPart pause();
  CommandPart finish();
  std::unexpected<Error> refuse(std::string what, std::size_t at);

  const CommandLimits limits_;
  std::optional<Error> failed_;
  std::string name_;  // of a command that was typed
  State state_ = State::kStart;
  bool first_ = true;
  bool whole_ = false;
  const CommandInfo* command_ = nullptr;
  // Bytes of the input that have been read, but are in no part yet.
  std::size_t scanned_ = 0;
  // Of the connection, up to the input.
  std::uint64_t offset_ = 0;
  std::uint64_t arguments_ = 0;
  std::uint64_t arguments_left_ = 0;
  std::uint64_t payload_left_ = 0;
};

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_PROXY_WIRE_RESP_COMMAND_FRAMER_H_
