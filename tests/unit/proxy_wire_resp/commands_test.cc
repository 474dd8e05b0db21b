#include "proxy/wire/resp/commands.h"

#include <gtest/gtest.h>

namespace clonesafe::wire::resp {
namespace {

TEST(Commands, AreFoundInAnyCase) {
  EXPECT_EQ(find_command("select").command, Command::kSelect);
  EXPECT_EQ(find_command("SeLeCt").command, Command::kSelect);
  EXPECT_EQ(find_command("pSubscribe").command, Command::kPatternSubscribe);
  EXPECT_EQ(find_command("eval_ro").command, Command::kEval);
  EXPECT_EQ(find_command("host:").command, Command::kCrossProtocol);
  for (const char* name : {"", "selec", "selectx", "nosuch", "\xff", "zzz", "hset", "A"}) {
    EXPECT_EQ(find_command(name).command, Command::kOther) << name;
    EXPECT_EQ(find_command(name).flags, 0) << name;
  }
}

TEST(Commands, OnlyThoseThatChangeNothingMayBeSentTwice) {
  for (const char* name : {"get", "mget", "hgetall", "xread", "eval_ro", "fcall_ro", "sort_ro"})
    EXPECT_TRUE(find_command(name).has(kRetryable)) << name;
  for (const char* name : {"set", "getdel", "getex", "incr", "blpop", "xreadgroup", "eval", "fcall",
                           "sort", "publish", "spop", "georadius", "unknown"})
    EXPECT_FALSE(find_command(name).has(kRetryable)) << name;
}

TEST(Commands, ThoseThatWaitAreMarked) {
  for (const char* name : {"blpop", "blmove", "bzmpop", "xread", "xreadgroup", "wait"})
    EXPECT_TRUE(find_command(name).has(kBlocks)) << name;
  EXPECT_FALSE(find_command("lpop").has(kBlocks));
}

TEST(Commands, ThoseThatChangeTheSessionMustBeWhole) {
  for (const char* name :
       {"hello",        "auth",      "select",      "client",     "readonly",     "readwrite",
        "asking",       "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe",
        "sunsubscribe", "multi",     "exec",        "discard",    "watch",        "unwatch",
        "reset",        "quit",      "monitor",     "sync",       "psync"})
    EXPECT_TRUE(find_command(name).has(kWhole)) << name;
  EXPECT_FALSE(find_command("set").has(kWhole));
}

TEST(Commands, ContainersAreJudgedByTheirSubcommand) {
  EXPECT_TRUE(is_retryable(find_command("object"), "encoding"));
  EXPECT_TRUE(is_retryable(find_command("MEMORY"), "Usage"));
  EXPECT_TRUE(is_retryable(find_command("xinfo"), "stream"));
  EXPECT_FALSE(is_retryable(find_command("memory"), "purge"));
  EXPECT_FALSE(is_retryable(find_command("memory"), "encoding"));
  EXPECT_FALSE(is_retryable(find_command("set"), "usage"));
  EXPECT_TRUE(is_retryable(find_command("get"), "key"));
}

TEST(Commands, SubcommandsOfClient) {
  EXPECT_EQ(find_client_command("setname"), ClientCommand::kSetName);
  EXPECT_EQ(find_client_command("NO-EVICT"), ClientCommand::kNoEvict);
  EXPECT_EQ(find_client_command("Tracking"), ClientCommand::kTracking);
  EXPECT_EQ(find_client_command("kill"), ClientCommand::kOther);
}

}  // namespace
}  // namespace clonesafe::wire::resp
