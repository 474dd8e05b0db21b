#include "proxy/session/session.h"

namespace clonesafe::proxy {

Awaitable<void> part_from(std::shared_ptr<Stream> stream) {
  // One that can't be told is closed all the same.
  [[maybe_unused]] const auto told = co_await stream->finish();
  stream->close();
}

}  // namespace clonesafe::proxy
