#include "vmm_device/virtio/net_frame.h"

namespace clonesafe::virtio::net {
namespace {

// 5.1.6.2.1: what the driver may ask for. The kernel checks where in the frame the header points.
bool allowed(const Header& header, std::uint64_t features) {
  if ((header.flags & ~kHeaderNeedsChecksum) != 0) return false;
  if (header.flags != 0 && (features & kFeatureChecksum) == 0) return false;
  switch (header.gso_type) {
    case kGsoNone:
      return true;
    case kGsoTcp4:
      return (features & kFeatureHostTso4) != 0;
    case kGsoTcp6:
      return (features & kFeatureHostTso6) != 0;
    default:
      return false;
  }
}

}  // namespace

bool take_frame(const Chain& chain, std::uint64_t features, OutgoingFrame& frame) {
  if (chain.readable_size < kMinFrame || chain.readable_size > kMaxFrame) return false;
  Header& header = frame.header;
  if (!chain.read(0, std::as_writable_bytes(std::span(&header, 1)))) return false;
  if (!allowed(header, features)) return false;
  header.num_buffers = 0;
  frame.parts.assign(1, {.iov_base = &header, .iov_len = sizeof header});
  std::size_t skip = sizeof header;
  for (const auto& part : chain.readable) {
    if (skip >= part.size()) {
      skip -= part.size();
      continue;
    }
    const auto rest = part.subspan(skip);
    skip = 0;
    // writev() only reads.
    frame.parts.push_back(
        {.iov_base = const_cast<std::byte*>(rest.data()), .iov_len = rest.size()});
  }
  frame.size = chain.readable_size;
  return true;
}

}  // namespace clonesafe::virtio::net
