#include "proxy/wire/resp/commands.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

namespace clonesafe::wire::resp {
namespace {

constexpr char upper(char byte) {
  return byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - 'a' + 'A') : byte;
}

// <0, 0 or >0 as `capitals` is less than, equal to or greater than `text` in capitals.
constexpr int compare(std::string_view capitals, std::string_view text) {
  const std::size_t common = std::min(capitals.size(), text.size());
  for (std::size_t index = 0; index < common; ++index) {
    if (capitals[index] != upper(text[index])) return capitals[index] < upper(text[index]) ? -1 : 1;
  }
  if (capitals.size() == text.size()) return 0;
  return capitals.size() < text.size() ? -1 : 1;
}

// What is not the session's is from COMMAND of redis-server 7.0.15: those with the flag `readonly`
// or `blocking`. WAIT has neither, but waits. CLIENT SETINFO, CLIENT NO-TOUCH and WAITAOF are
// of 7.2.
constexpr CommandInfo kCommands[] = {
    {"ASKING", Command::kAsking, kWhole},
    {"AUTH", Command::kAuth, kWhole},
    {"BITCOUNT", Command::kOther, kRetryable},
    {"BITFIELD_RO", Command::kOther, kRetryable},
    {"BITPOS", Command::kOther, kRetryable},
    {"BLMOVE", Command::kOther, kBlocks},
    {"BLMPOP", Command::kOther, kBlocks},
    {"BLPOP", Command::kOther, kBlocks},
    {"BRPOP", Command::kOther, kBlocks},
    {"BRPOPLPUSH", Command::kOther, kBlocks},
    {"BZMPOP", Command::kOther, kBlocks},
    {"BZPOPMAX", Command::kOther, kBlocks},
    {"BZPOPMIN", Command::kOther, kBlocks},
    {"CLIENT", Command::kClient, kWhole},
    {"DBSIZE", Command::kOther, kRetryable},
    {"DISCARD", Command::kDiscard, kWhole},
    {"DUMP", Command::kOther, kRetryable},
    {"EVAL", Command::kEval, 0},
    {"EVALSHA", Command::kEval, 0},
    {"EVALSHA_RO", Command::kEval, kRetryable},
    {"EVAL_RO", Command::kEval, kRetryable},
    {"EXEC", Command::kExec, kWhole},
    {"EXISTS", Command::kOther, kRetryable},
    {"EXPIRETIME", Command::kOther, kRetryable},
    {"FCALL", Command::kFcall, 0},
    {"FCALL_RO", Command::kFcall, kRetryable},
    {"FUNCTION", Command::kFunction, 0},
    {"GEODIST", Command::kOther, kRetryable},
    {"GEOHASH", Command::kOther, kRetryable},
    {"GEOPOS", Command::kOther, kRetryable},
    {"GEORADIUSBYMEMBER_RO", Command::kOther, kRetryable},
    {"GEORADIUS_RO", Command::kOther, kRetryable},
    {"GEOSEARCH", Command::kOther, kRetryable},
    {"GET", Command::kOther, kRetryable},
    {"GETBIT", Command::kOther, kRetryable},
    {"GETRANGE", Command::kOther, kRetryable},
    {"HELLO", Command::kHello, kWhole},
    {"HEXISTS", Command::kOther, kRetryable},
    {"HGET", Command::kOther, kRetryable},
    {"HGETALL", Command::kOther, kRetryable},
    {"HKEYS", Command::kOther, kRetryable},
    {"HLEN", Command::kOther, kRetryable},
    {"HMGET", Command::kOther, kRetryable},
    {"HOST:", Command::kCrossProtocol, kWhole},
    {"HRANDFIELD", Command::kOther, kRetryable},
    {"HSCAN", Command::kOther, kRetryable},
    {"HSTRLEN", Command::kOther, kRetryable},
    {"HVALS", Command::kOther, kRetryable},
    {"KEYS", Command::kOther, kRetryable},
    {"LCS", Command::kOther, kRetryable},
    {"LINDEX", Command::kOther, kRetryable},
    {"LLEN", Command::kOther, kRetryable},
    {"LOLWUT", Command::kOther, kRetryable},
    {"LPOS", Command::kOther, kRetryable},
    {"LRANGE", Command::kOther, kRetryable},
    {"MEMORY", Command::kOther, kWholeIfShort},
    {"MGET", Command::kOther, kRetryable},
    {"MONITOR", Command::kMonitor, kWhole},
    {"MULTI", Command::kMulti, kWhole},
    {"OBJECT", Command::kOther, kWholeIfShort},
    {"PEXPIRETIME", Command::kOther, kRetryable},
    {"PFCOUNT", Command::kOther, kRetryable},
    {"PING", Command::kPing, 0},
    {"POST", Command::kCrossProtocol, kWhole},
    {"PSUBSCRIBE", Command::kPatternSubscribe, kWhole},
    {"PSYNC", Command::kReplicate, kWhole},
    {"PTTL", Command::kOther, kRetryable},
    {"PUNSUBSCRIBE", Command::kPatternUnsubscribe, kWhole},
    {"QUIT", Command::kQuit, kWhole},
    {"RANDOMKEY", Command::kOther, kRetryable},
    {"READONLY", Command::kReadOnly, kWhole},
    {"READWRITE", Command::kReadWrite, kWhole},
    {"REPLCONF", Command::kReplicate, kWhole},
    {"RESET", Command::kReset, kWhole},
    {"SCAN", Command::kOther, kRetryable},
    {"SCARD", Command::kOther, kRetryable},
    {"SCRIPT", Command::kScript, 0},
    {"SDIFF", Command::kOther, kRetryable},
    {"SELECT", Command::kSelect, kWhole},
    {"SINTER", Command::kOther, kRetryable},
    {"SINTERCARD", Command::kOther, kRetryable},
    {"SISMEMBER", Command::kOther, kRetryable},
    {"SMEMBERS", Command::kOther, kRetryable},
    {"SMISMEMBER", Command::kOther, kRetryable},
    {"SORT_RO", Command::kOther, kRetryable},
    {"SRANDMEMBER", Command::kOther, kRetryable},
    {"SSCAN", Command::kOther, kRetryable},
    {"SSUBSCRIBE", Command::kShardSubscribe, kWhole},
    {"STRLEN", Command::kOther, kRetryable},
    {"SUBSCRIBE", Command::kSubscribe, kWhole},
    {"SUBSTR", Command::kOther, kRetryable},
    {"SUNION", Command::kOther, kRetryable},
    {"SUNSUBSCRIBE", Command::kShardUnsubscribe, kWhole},
    {"SYNC", Command::kReplicate, kWhole},
    {"TOUCH", Command::kOther, kRetryable},
    {"TTL", Command::kOther, kRetryable},
    {"TYPE", Command::kOther, kRetryable},
    {"UNSUBSCRIBE", Command::kUnsubscribe, kWhole},
    {"UNWATCH", Command::kUnwatch, kWhole},
    {"WAIT", Command::kOther, kBlocks},
    {"WAITAOF", Command::kOther, kBlocks},
    {"WATCH", Command::kWatch, kWhole},
    {"XINFO", Command::kOther, kWholeIfShort},
    {"XLEN", Command::kOther, kRetryable},
    {"XPENDING", Command::kOther, kRetryable},
    {"XRANGE", Command::kOther, kRetryable},
    {"XREAD", Command::kOther, kRetryable | kBlocks},
    {"XREADGROUP", Command::kOther, kBlocks},
    {"XREVRANGE", Command::kOther, kRetryable},
    {"ZCARD", Command::kOther, kRetryable},
    {"ZCOUNT", Command::kOther, kRetryable},
    {"ZDIFF", Command::kOther, kRetryable},
    {"ZINTER", Command::kOther, kRetryable},
    {"ZINTERCARD", Command::kOther, kRetryable},
    {"ZLEXCOUNT", Command::kOther, kRetryable},
    {"ZMSCORE", Command::kOther, kRetryable},
    {"ZRANDMEMBER", Command::kOther, kRetryable},
    {"ZRANGE", Command::kOther, kRetryable},
    {"ZRANGEBYLEX", Command::kOther, kRetryable},
    {"ZRANGEBYSCORE", Command::kOther, kRetryable},
    {"ZRANK", Command::kOther, kRetryable},
    {"ZREVRANGE", Command::kOther, kRetryable},
    {"ZREVRANGEBYLEX", Command::kOther, kRetryable},
    {"ZREVRANGEBYSCORE", Command::kOther, kRetryable},
    {"ZREVRANK", Command::kOther, kRetryable},
    {"ZSCAN", Command::kOther, kRetryable},
    {"ZSCORE", Command::kOther, kRetryable},
    {"ZUNION", Command::kOther, kRetryable},
};

struct ClientName {
  std::string_view name;
  ClientCommand command;
};
constexpr ClientName kClientCommands[] = {
    {"CACHING", ClientCommand::kCaching},   {"GETNAME", ClientCommand::kGetName},
    {"GETREDIR", ClientCommand::kGetRedir}, {"ID", ClientCommand::kId},
    {"INFO", ClientCommand::kInfo},         {"NO-EVICT", ClientCommand::kNoEvict},
    {"NO-TOUCH", ClientCommand::kNoTouch},  {"REPLY", ClientCommand::kReply},
    {"SETINFO", ClientCommand::kSetInfo},   {"SETNAME", ClientCommand::kSetName},
    {"TRACKING", ClientCommand::kTracking},
};

struct Subcommand {
  std::string_view name;
  std::string_view container;
};
constexpr Subcommand kRetryableSubcommands[] = {
    {"CONSUMERS", "XINFO"}, {"ENCODING", "OBJECT"}, {"FREQ", "OBJECT"},  {"GROUPS", "XINFO"},
    {"IDLETIME", "OBJECT"}, {"REFCOUNT", "OBJECT"}, {"STREAM", "XINFO"}, {"USAGE", "MEMORY"},
};

template <typename Table>
constexpr bool is_sorted(const Table& table) {
  return std::ranges::is_sorted(table, {}, [](const auto& entry) { return entry.name; });
}
static_assert(is_sorted(kCommands) && is_sorted(kClientCommands) &&
              is_sorted(kRetryableSubcommands));

template <typename Entry>
const Entry* find(std::span<const Entry> table, std::string_view name) {
  const auto at = std::ranges::partition_point(
      table, [&](const Entry& entry) { return compare(entry.name, name) < 0; });
  return at != table.end() && compare(at->name, name) == 0 ? &*at : nullptr;
}

constexpr CommandInfo kUnknown{};

}  // namespace

const std::size_t kLongestCommandName = std::ranges::max(kCommands, {}, [](const auto& entry) {
                                          return entry.name.size();
                                        }).name.size();

const CommandInfo& find_command(std::string_view name) {
  const auto* const found = find(std::span<const CommandInfo>(kCommands), name);
  return found == nullptr ? kUnknown : *found;
}

bool is_retryable(const CommandInfo& command, std::string_view subcommand) {
  if (!command.has(kWholeIfShort)) return command.has(kRetryable);
  const auto* const found = find(std::span<const Subcommand>(kRetryableSubcommands), subcommand);
  return found != nullptr && found->container == command.name;
}

ClientCommand find_client_command(std::string_view subcommand) {
  const auto* const found = find(std::span<const ClientName>(kClientCommands), subcommand);
  return found == nullptr ? ClientCommand::kOther : found->command;
}

}  // namespace clonesafe::wire::resp
