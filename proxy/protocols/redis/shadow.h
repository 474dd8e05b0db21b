// redis: sessions of Redis and Valkey that outlive their server's connection: what a server knows
// of a session is noted as it confirms it, and told to the next one.
#ifndef CLONESAFE_PROXY_PROTOCOLS_REDIS_SHADOW_H_
#define CLONESAFE_PROXY_PROTOCOLS_REDIS_SHADOW_H_

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/wire/resp/commands.h"
#include "proxy/wire/resp/reply_framer.h"
#include "proxy/wire/resp/value.h"

namespace clonesafe::proxy::redis {

using wire::resp::ClientCommand;
using wire::resp::Command;
using wire::resp::Protocol;
using wire::resp::PushKind;

// What a server knows of a session. Holds the password that the application gave, as the
// application itself does; it is wiped when it changes and at the end. Not thread-safe.
class Shadow {
 public:
  Shadow() = default;
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;
  ~Shadow();

  // The server did what this command asked for. `arguments` has the name first.
  void done(Command command, const std::vector<std::string>& arguments);
  // It told of a subscription.
  void confirmed(PushKind kind, const std::string& channel);

  Protocol protocol() const { return protocol_; }
  bool subscribed() const;
  std::size_t subscriptions(PushKind kind) const;
  bool tracking() const { return !tracking_.empty(); }

  // What makes a new connection the same, in one write, and what the server says to it.
  struct Replay {
    std::string commands;
    // For each reply, in order: whether an error there means that the session can't go on.
    std::vector<bool> needed;
    std::size_t confirmations = 0;
  };
  Replay replay() const;

 private:
  void client(const std::vector<std::string>& arguments);
  void hello(const std::vector<std::string>& arguments);
  void authenticated(std::string user, std::string password);
  void clear();
  std::set<std::string>& channels(PushKind kind);

  Protocol protocol_ = Protocol::kResp2;
  bool has_hello_ = false;
  bool authenticated_ = false;
  std::string user_, password_;  // an empty user: the default one, by AUTH with one argument
  std::string database_;         // empty: 0, and never chosen
  std::string name_;
  std::map<std::string, std::string> info_;  // CLIENT SETINFO
  std::vector<std::string> tracking_;        // the command
  bool no_evict_ = false, no_touch_ = false;
  bool read_only_ = false;
  std::set<std::string> channels_, patterns_, shards_;
};

}  // namespace clonesafe::proxy::redis

#endif  // CLONESAFE_PROXY_PROTOCOLS_REDIS_SHADOW_H_
