#include "tests/unit/proxy/faulty_server.h"

#include <list>

#include "tests/unit/proxy/network.h"

namespace clonesafe::proxy {

FaultyServer::FaultyServer(const TokenLanguage& language, unsigned seed, bool bytewise)
    : language_(language), seed_(seed), bytewise_(bytewise), listener_(listen_on(kFar, port_)) {
  accepting_ = std::jthread([this](const std::stop_token& stop) { accept_all(stop); });
}

int FaultyServer::times(const std::string& token) const {
  const std::scoped_lock lock(mutex_);
  const auto found = done_.find(token);
  return found == done_.end() ? 0 : found->second;
}

void FaultyServer::note(const std::string& token) {
  const std::scoped_lock lock(mutex_);
  ++done_[token];
}

void FaultyServer::accept_all(const std::stop_token& stop) {
  std::list<std::jthread> serving;
  unsigned seed = seed_;
  while (auto peer = TokenPeer::accept(listener_, stop)) {
    serving.emplace_back(
        [this, peer = std::move(*peer), seed]() mutable { serve(std::move(peer), seed); });
    ++seed;
  }
}

void FaultyServer::serve(TokenPeer peer, unsigned seed) {
  std::mt19937 random(seed);
  if (!healthy_ && random() % 8 == 0) {
    ++faults_;
    return peer.reset();
  }
  if (!language_.welcome(peer)) return;
  while (const auto token = language_.next(peer)) {
    if (!answer(peer, random, *token)) return;
  }
}

bool FaultyServer::answer(TokenPeer& peer, std::mt19937& random, const std::string& token) {
  const std::string reply = language_.reply(token);
  if (healthy_ || random() % 4 != 0) {
    note(token);
    return peer.say(reply, bytewise_);
  }
  ++faults_;
  enum End { kClose, kReset, kVanish };
  const auto end = static_cast<End>(random() % 3);
  // Whoever waits for one that has vanished waits for ever.
  const bool done = end == kVanish || random() % 2 == 0;
  if (done) note(token);
  const std::size_t part = end == kVanish ? reply.size() : random() % (reply.size() + 1);
  if (done) peer.say(reply.substr(0, part), bytewise_);
  if (end == kReset) peer.reset();
  if (end == kVanish) peer.vanish();
  return false;
}

}  // namespace clonesafe::proxy
