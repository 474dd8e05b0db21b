#include "proxy/session/session.h"

#include <spdlog/spdlog.h>

namespace clonesafe::proxy {

Awaitable<void> part_from(std::shared_ptr<Stream> stream) {
  // One that can't be told is closed all the same.
  [[maybe_unused]] const auto told = co_await stream->finish();
  stream->close();
}

Awaitable<Result<std::shared_ptr<Stream>>> Session::connect(Upstream::Peer* peer,
                                                            const bool* urgent) {
  const Fence::Epoch epoch = host_.loop.fence().now();
  Upstream::Peer reached;
  const Upstream::Wish wish{.hold = host_.config.hold,
                            .preface = client_.preface,
                            .destination = client_.destination ? &*client_.destination : nullptr,
                            .urgent = urgent,
                            .peer = &reached,
                            .why = &why_no_upstream_};
  auto connected = co_await host_.upstream.connect(wish);
  if (connected) {
    if (record_ != nullptr && reached.endpoint.size() != 0) record_->upstream = reached.endpoint;
    if (peer != nullptr) *peer = std::move(reached);
    co_return connected;
  }
  if (urgent != nullptr && !*urgent && host_.loop.fence().now() != epoch) co_return connected;
  ++host_.counts.failed;
  ends("no upstream");
  spdlog::warn("{}: no upstream for {}: {}", host_.config.name, to_text(client_.from),
               connected.error().message());
  co_return connected;
}

}  // namespace clonesafe::proxy
