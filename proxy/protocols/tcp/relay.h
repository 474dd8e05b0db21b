#ifndef CLONESAFE_PROXY_PROTOCOLS_TCP_RELAY_H_
#define CLONESAFE_PROXY_PROTOCOLS_TCP_RELAY_H_

#include <cstddef>
#include <functional>
#include <vector>

#include "proxy/core/loop.h"
#include "proxy/core/stream.h"

namespace clonesafe::proxy {

enum class RelayEnd {
  kEnded,             // both sides said all they had to say
  kStale,             // the upstream's connection is gone by `gone`; nothing is half sent
  kStaleInTheMiddle,  // the same, and bytes of the application may have been sent or lost
  kApplicationFailed,
  kUpstreamFailed
};

// What becomes of an application's connection whose upstream's is stale.
enum class WhenStale {
  kReset,  // it ends with an error at once
  kKeep    // it stays; the relay ends with the next bytes that the application sends
};

enum class Direction { kUp, kDown };

// Who wants to know, or to be asked.
struct RelayWatch {
  std::function<void(Direction)> used;  // bytes are carried
  // The upstream's connection is not to be used any more: stale, or parted from.
  std::function<bool()> gone;
};

// Carries bytes in both directions until both ended, or one failed; then both streams are closed,
// but for the application's if it is kept. `first` is sent to the upstream before anything else,
// and is then what the application sent when it was kept: for the next upstream.
Awaitable<RelayEnd> relay(Loop& loop, Stream& application, Stream& upstream, RelayWatch watch,
                          WhenStale when_stale, std::vector<std::byte>& first);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROTOCOLS_TCP_RELAY_H_
