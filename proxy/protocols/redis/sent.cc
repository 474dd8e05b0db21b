#include "proxy/protocols/redis/sent.h"

namespace clonesafe::proxy::redis {

void SentCommands::begin(const wire::resp::CommandInfo* command) {
  if (list_.empty()) {
    kept_.clear();
    kept_from_ = end_;
    full_ = false;
  }
  list_.push_back({.command = command, .begin = end_});
}

void SentCommands::add(std::string_view bytes) {
  if (!full_ && kept_.size() + bytes.size() <= kMaxKept) {
    kept_ += bytes;
  } else {
    full_ = true;
  }
  end_ += bytes.size();
  list_.back().size += bytes.size();
}

void SentCommands::pop() {
  list_.pop_front();
  const std::uint64_t first = list_.empty() ? end_ : list_.front().begin;
  // Not at each command: in the long run a byte is moved once.
  const std::uint64_t unused = first - kept_from_;
  if (unused < kept_.size() / 2 || unused > kept_.size()) return;
  kept_.erase(0, unused);
  kept_from_ = first;
}

std::string_view SentCommands::bytes_of(const Sent& sent) const {
  const std::uint64_t at = sent.begin - kept_from_;
  if (sent.begin < kept_from_ || at + sent.size > kept_.size()) return {};
  return std::string_view(kept_).substr(at, sent.size);
}

}  // namespace clonesafe::proxy::redis
