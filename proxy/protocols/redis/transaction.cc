#include "proxy/protocols/redis/transaction.h"

#include "proxy/protocols/redis/sent.h"

namespace clonesafe::proxy::redis {

using wire::resp::Command;

void Transaction::send(Command command) {
  if (command == Command::kMulti) sent_ = true;
  if (command == Command::kExec || command == Command::kDiscard || command == Command::kReset)
    sent_ = false;
}

bool Transaction::queues(Command command) const {
  return sent_ && command != Command::kExec && command != Command::kDiscard &&
         command != Command::kReset && command != Command::kQuit;
}

void Transaction::queue(Command command, std::string_view bytes,
                        const std::vector<std::string>& arguments) {
  if (bytes.empty() || queued_.size() + bytes.size() > SentCommands::kMaxKept) {
    queue_lost_ = true;
  } else {
    queued_ += bytes;
    ++queued_count_;
  }
  if (!arguments.empty()) effects_.emplace_back(command, arguments);
}

void Transaction::end() {
  open_ = watching_ = aborted_ = queue_lost_ = false;
  queued_.clear();
  queued_count_ = 0;
  effects_.clear();
}

}  // namespace clonesafe::proxy::redis
