#ifndef CLONESAFE_PROXY_CORE_STREAM_H_
#define CLONESAFE_PROXY_CORE_STREAM_H_

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <span>

#include "libclonesafe/base/error.h"

namespace clonesafe::proxy {

template <typename T>
using Awaitable = boost::asio::awaitable<T>;

// One connection, of bytes in both directions. At most one read and one write at a time, which may
// overlap. Not thread-safe: all on the thread of its event loop.
//
// A buffer may be shared by many streams: read() puts bytes into it only after its last suspension,
// and write() has taken what it was given when it first suspends.
class Stream {
 public:
  virtual ~Stream() = default;

  // Waits for bytes, and gives how many; 0 at the end of what the peer sends. An error too if the
  // connection is stale: then nothing was read from it.
  virtual Awaitable<Result<std::size_t>> read(std::span<std::byte> to) = 0;

  // Sends all of it. If the connection is stale, an error, and nothing that was not sealed before
  // the machine was cloned has left.
  virtual Awaitable<Status> write(std::span<const std::byte> from) = 0;

  // No more will be written.
  virtual Awaitable<Status> finish() = 0;

  // Of another generation of this machine: nothing may be sent any more.
  virtual bool stale() const = 0;
  // Neither stale nor ended, and no byte waits to be read, as far as can be told now: fit to be
  // used after it was idle. Not while somebody reads.
  virtual bool quiet() = 0;

  // The peer sends no more, or is gone: what it sent before may still wait to be read.
  virtual bool left() = 0;

  // Each ends it, and what waits in read() and write() ends with an error: with what the peer takes
  // for an end, or for an error; a stale one always without a word.
  virtual void close() = 0;
  virtual void reset() = 0;

  std::chrono::steady_clock::time_point opened() const { return opened_; }

 private:
  const std::chrono::steady_clock::time_point opened_ = std::chrono::steady_clock::now();
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_STREAM_H_
