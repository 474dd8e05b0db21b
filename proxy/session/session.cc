#include "proxy/session/session.h"

#include <spdlog/spdlog.h>

namespace clonesafe::proxy {

Awaitable<void> part_from(std::shared_ptr<Stream> stream) {
  // One that can't be told is closed all the same.
  [[maybe_unused]] const auto told = co_await stream->finish();
  stream->close();
}

Awaitable<Result<std::unique_ptr<Stream>>> Session::connect(Upstream::Peer* peer) {
  Upstream::Peer reached;
  const Address* const destination = client_.destination ? &*client_.destination : nullptr;
  auto connected =
      co_await host_.upstream.connect(host_.config.hold, client_.preface, &reached, destination);
  if (connected) {
    if (record_ != nullptr) record_->upstream = reached.endpoint;
    if (peer != nullptr) *peer = std::move(reached);
    co_return connected;
  }
  ++host_.counts.failed;
  ends("no upstream");
  spdlog::warn("{}: no upstream for {}: {}", host_.config.name, to_text(client_.from),
               connected.error().message());
  co_return connected;
}

}  // namespace clonesafe::proxy
