#include "vmm_device/virtio/parked_frames.h"

namespace clonesafe::virtio::net {

bool ParkedFrames::park(std::span<const iovec> parts, std::size_t size) {
  if (frames_.size() == kMaxFrames || size > kMaxBytes - bytes_) return false;
  std::vector<std::byte>& frame = frames_.emplace_back();
  frame.reserve(size);
  for (const iovec& part : parts) {
    const auto* const first = static_cast<const std::byte*>(part.iov_base);
    frame.insert(frame.end(), first, first + part.iov_len);
  }
  bytes_ += size;
  return true;
}

void ParkedFrames::pop() {
  bytes_ -= frames_.front().size();
  frames_.pop_front();
}

}  // namespace clonesafe::virtio::net
