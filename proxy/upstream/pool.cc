#include "proxy/upstream/pool.h"

#include <algorithm>
#include <utility>

namespace clonesafe::proxy {
namespace {

// Each look at a connection is a system call.
constexpr std::chrono::seconds kLookEvery{1};

}  // namespace

std::shared_ptr<Stream> Pool::take(std::string_view key) {
  for (auto at = idle_.end(); at != idle_.begin();) {
    --at;
    if (at->key != key) continue;
    const std::shared_ptr<Stream> stream = std::move(at->stream);
    at = idle_.erase(at);
    if (stream->quiet()) return stream;
    close(*stream);
  }
  return nullptr;
}

void Pool::keep(std::shared_ptr<Stream> stream, std::string_view key) {
  if (config_.idle_connections == 0 || stream->stale()) return close(*stream);
  if (idle_.size() >= config_.idle_connections) {
    close(*idle_.front().stream);
    idle_.pop_front();
  }
  idle_.push_back({.stream = std::move(stream), .key = std::string(key), .since = Clock::now()});
}

std::vector<std::shared_ptr<Stream>> Pool::take_all() {
  std::vector<std::shared_ptr<Stream>> all;
  for (Idle& idle : std::exchange(idle_, {})) all.push_back(std::move(idle.stream));
  return all;
}

void Pool::close(Stream& stream) {
  if (stream.stale()) ++fenced_;
  stream.close();
}

void Pool::fence() {
  std::erase_if(idle_, [this](const Idle& idle) {
    if (!idle.stream->stale()) return false;
    close(*idle.stream);
    return true;
  });
}

void Pool::look(Clock::time_point now) {
  if (now - looked_ < kLookEvery) return;
  looked_ = now;
  std::erase_if(idle_, [&](const Idle& idle) {
    if (now - idle.since <= config_.idle && idle.stream->quiet()) return false;
    close(*idle.stream);
    return true;
  });
}

}  // namespace clonesafe::proxy
