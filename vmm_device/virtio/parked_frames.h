#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_PARKED_FRAMES_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_PARKED_FRAMES_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace clonesafe::virtio::net {

// Frames that a guest sent while its network was held, in their order. Bounded: the guest decides
// how much it sends. When it is full, newer frames are lost, as in any full queue of a network; the
// older ones are those that others of the guest wait for.
class ParkedFrames {
 public:
  static constexpr std::size_t kMaxFrames = 1024;
  static constexpr std::size_t kMaxBytes = std::size_t{4} << 20;

  // Copies it; false if there is no room.
  bool park(std::span<const iovec> parts, std::size_t size);
  bool empty() const { return frames_.empty(); }
  std::size_t size() const { return frames_.size(); }
  std::span<const std::byte> front() const { return frames_.front(); }
  void pop();

 private:
  std::deque<std::vector<std::byte>> frames_;
  std::size_t bytes_ = 0;
};

}  // namespace clonesafe::virtio::net

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_PARKED_FRAMES_H_
