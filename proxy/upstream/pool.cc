#include "proxy/upstream/pool.h"

#include <algorithm>
#include <utility>

namespace clonesafe::proxy {
namespace {

// Each look at a connection is a system call.
constexpr std::chrono::seconds kLookEvery{1};

}  // namespace

Pool::Pool(const UpstreamConfig& config, Upstream& upstream)
    : config_(config), upstream_(upstream) {
  upstream_.set_evict([this] { return close_oldest(); });
}

bool Pool::close_oldest() {
  if (idle_.empty()) return false;
  close(*idle_.front().stream);
  idle_.pop_front();
  return true;
}

std::shared_ptr<Stream> Pool::take(std::string_view key) {
  for (auto at = idle_.end(); at != idle_.begin();) {
    --at;
    if (at->key != key) continue;
    const std::shared_ptr<Stream> stream = std::move(at->stream);
    at = idle_.erase(at);
    if (!too_old(*stream, Clock::now()) && stream->quiet()) return stream;
    close(*stream);
  }
  return nullptr;
}

void Pool::keep(std::shared_ptr<Stream> stream, std::string_view key) {
  if (stream->stale() || too_old(*stream, Clock::now())) return close(*stream);
  if (upstream_.give(stream, key)) return;
  // Who waits for a place gets this one's.
  if (config_.idle_connections == 0 || upstream_.awaited()) return close(*stream);
  if (idle_.size() >= config_.idle_connections) close_oldest();
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
  std::size_t left = idle_.size();
  std::erase_if(idle_, [&](const Idle& idle) {
    const bool waits_too_long = now - idle.since > config_.idle && left > config_.min_idle;
    if (!waits_too_long && !too_old(*idle.stream, now) && idle.stream->quiet()) return false;
    close(*idle.stream);
    --left;
    return true;
  });
}

bool Pool::too_old(const Stream& stream, Clock::time_point now) const {
  return config_.lifetime.count() != 0 && now - stream.opened() > config_.lifetime;
}

std::size_t Pool::missing() const {
  const std::size_t there = idle_.size() + opening_;
  return there >= config_.min_idle || upstream_.full() ? 0 : config_.min_idle - there;
}

}  // namespace clonesafe::proxy
