#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_HELD_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_HELD_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/virtio/vsock_connection.h"
#include "vmm_device/virtio/vsock_packet.h"

namespace clonesafe::virtio {

// One that waits to be connected: the guest's request, or the socket of a host program (then its
// key has no host port yet).
struct HeldStream {
  VsockKey key = {};
  VsockHeader request = {};
  UniqueFd socket = {};
};

// Streams by ports that are held: nobody is told of them until the hold ends. Not thread-safe: the
// device locks, and bounds how many there are.
class HeldStreams {
 public:
  explicit HeldStreams(std::set<std::uint32_t> ports) : ports_(std::move(ports)) {}

  bool holds(std::uint32_t port) const { return ports_.contains(port); }
  void add(HeldStream stream) {
    streams_.push_back(std::move(stream));
    ++count_;
  }
  // The guest's end of this one no longer waits.
  void forget(const VsockKey& key) {
    std::erase_if(streams_,
                  [&key](const HeldStream& stream) { return !stream.socket && stream.key == key; });
  }
  // The driver reset the device: it asked for nothing. Host programs wait on.
  void reset() {
    std::erase_if(streams_, [](const HeldStream& stream) { return !stream.socket; });
  }

  std::size_t waiting() const { return streams_.size(); }
  std::uint64_t count() const { return count_; }  // that ever waited
  // Those of the guest that wait for an answer.
  std::vector<VsockHeader> requests() const {
    std::vector<VsockHeader> list;
    for (const HeldStream& stream : streams_)
      if (!stream.socket) list.push_back(stream.request);
    return list;
  }

  // Ends the hold.
  std::vector<HeldStream> release() {
    ports_.clear();
    return std::exchange(streams_, {});
  }

 private:
  std::set<std::uint32_t> ports_;
  std::vector<HeldStream> streams_;
  std::uint64_t count_ = 0;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_HELD_H_
