#ifndef CLONESAFE_PROXY_PROTOCOLS_REDIS_DIALOGUE_H_
#define CLONESAFE_PROXY_PROTOCOLS_REDIS_DIALOGUE_H_

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/protocols/redis/sent.h"
#include "proxy/protocols/redis/shadow.h"
#include "proxy/protocols/redis/splice.h"
#include "proxy/protocols/redis/transaction.h"
#include "proxy/wire/resp/command_framer.h"
#include "proxy/wire/resp/reply_framer.h"

namespace clonesafe::proxy::redis {

// The protocol's own way to say what went wrong.
std::string error_line(const std::string& text);

// What an application and its servers say to each other, as seen from between them: what is under
// way, and what the next connection has to be told. Without I/O. Not thread-safe.
class Dialogue {
 public:
  // --- From the application. ---

  // Notes the commands of an input, and puts in what is to be sent in their place. Gives how much
  // of the input that is; the rest has to be given again, with more behind it.
  std::size_t take_commands(Splice& splice);
  // What was found behind the last command, and is none; nothing more can be taken then.
  const std::optional<std::string>& mistake() const { return mistake_; }

  // --- From the server. ---

  // The same of replies and pushes.
  Result<std::size_t> take_replies(Splice& splice);
  // What has to be given to the application now, and no server gives.
  std::string take_answers();

  // --- From one connection to the next. ---

  // The connection is gone. False if the application can't go on with another one.
  bool lose();
  // What the next one is told first.
  std::string begin_anew();

  // Commands whose reply the application waits for.
  std::size_t under_way() const { return sent_.size(); }
  // The connection can be parted from, and the application loses nothing.
  bool idle() const {
    return sent_.empty() && to_skip_.empty() && confirmations_to_skip_ == 0 && transaction_.idle();
  }
  // Something may come that was not asked for.
  bool subscribed() const { return shadow_.subscribed(); }
  // A command was sent behind which bytes are carried as they are: only the server ends it.
  bool tunnels() const { return tunnels_; }
  bool quits() const { return quits_; }

 private:
  // What to send in its place, if it isn't sent as it is.
  std::optional<std::string> take_part(const wire::resp::CommandPart& part, std::string_view bytes);
  std::optional<std::string> take_whole(const wire::resp::CommandInfo& command,
                                        std::string_view bytes);
  // From here on nobody but the application knows what is what.
  bool tunnelled() const;
  // In RESP2 only who knows what was asked for can tell a message from a reply.
  bool may_be_message() const;
  // What to give in its place, if it isn't passed on.
  Result<std::optional<std::string>> take_reply(const wire::resp::ReplyPart& part,
                                                std::string_view bytes);
  Result<std::optional<std::string>> take_push(const wire::resp::ReplyPart& part,
                                               std::string_view bytes);
  // A command for channels is done with its last one.
  void count_confirmation(PushKind push);
  // The front command has its reply.
  void finish(const wire::resp::ReplyPart& part);
  // Whether it is to be sent again; if not, it gets its answer.
  void sort_out(Sent& sent);

  wire::resp::CommandFramer commands_;
  std::optional<std::string> mistake_;
  bool discards_ = false;  // the rest of a command that was answered
  bool tunnels_ = false;
  bool quits_ = false;
  std::unique_ptr<wire::resp::ReplyFramer> replies_ = std::make_unique<wire::resp::ReplyFramer>();
  SentCommands sent_;
  Shadow shadow_;
  Transaction transaction_;
  // Replies to what the proxy itself said to a new connection: whether an error ends the session.
  std::deque<bool> to_skip_;
  std::size_t confirmations_to_skip_ = 0;
  bool tell_of_lost_tracking_ = false;
};

}  // namespace clonesafe::proxy::redis

#endif  // CLONESAFE_PROXY_PROTOCOLS_REDIS_DIALOGUE_H_
