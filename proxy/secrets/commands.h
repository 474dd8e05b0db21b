// secrets: programs that give the proxy its secrets, run by a process of its own: the proxy itself
// has given up running programs.
#ifndef CLONESAFE_PROXY_SECRETS_COMMANDS_H_
#define CLONESAFE_PROXY_SECRETS_COMMANDS_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "proxy/config/config.h"
#include "proxy/core/loop.h"
#include "proxy/core/stream.h"
#include "proxy/wire/scram/secret.h"

namespace clonesafe::proxy {

// Commands, and the process that runs them: it learns of them by its fork, so that nobody who asks
// it, whatever became of the proxy, can have another one run. Thread-safe.
class Commands {
 public:
  // Forks the process, in which `give_up` gives up its rights. Before the first thread, and before
  // the proxy reads or maps what is not for programs: the process has a copy of its memory.
  static Result<std::unique_ptr<Commands>> start(std::vector<CommandConfig> commands,
                                                 const std::function<Status()>& give_up);
  // Ends the process, and what it runs.
  ~Commands();
  Commands(const Commands&) = delete;
  Commands& operator=(const Commands&) = delete;

  bool knows(const CommandConfig& command) const;
  // Runs one of them, with what else it takes as CommandConfig says, and gives its output, of at
  // most 1 MiB. An error doesn't name the command, and has nothing of its output.
  Awaitable<Result<wire::scram::SecretText>> run(Loop& loop, const CommandConfig& command) const;

  pid_t process() const { return process_; }
  // Can be read from when the process has ended.
  int socket() const { return socket_.get(); }

 private:
  Commands(std::vector<CommandConfig> commands, UniqueFd socket, pid_t process)
      : commands_(std::move(commands)), socket_(std::move(socket)), process_(process) {}
  Result<UniqueFd> ask(const CommandConfig& command) const;

  const std::vector<CommandConfig> commands_;
  UniqueFd socket_;
  const pid_t process_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SECRETS_COMMANDS_H_
