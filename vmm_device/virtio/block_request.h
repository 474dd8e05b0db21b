#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_BLOCK_REQUEST_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_BLOCK_REQUEST_H_

#include <optional>
#include <string>

#include "vmm_device/block/disk.h"
#include "vmm_device/virtio/block_abi.h"
#include "vmm_device/virtio/queue.h"

namespace clonesafe::virtio::blk {

// What the configuration space promises, and a request is held to.
inline constexpr std::uint32_t kMaxSegments = 16;              // of a discard
inline constexpr std::uint32_t kMaxDiscardSectors = 1u << 21;  // 1 GiB each

struct RequestOptions {
  std::string serial;
  // The driver knows of no flush: each write is on the disk before it is answered (5.2.6.2).
  bool write_through = false;
};

// How a request was answered.
struct Answer {
  RequestStatus status = RequestStatus::kOk;
  std::uint32_t written = 0;                  // bytes of the chain's writable part
  std::optional<Error> error = std::nullopt;  // the host's, behind kIoError
  RequestType type = RequestType::kFlush;
  std::uint64_t bytes = 0;  // that were read or written
};

// Whether its answer tells the driver that something is on the disk for good: a flush, or a write
// through.
bool is_durable(const Chain& chain, const RequestOptions& options);

// Does what a chain of the request queue asks for, and writes its status. Nothing, if the chain has
// no place for one: then it is no request.
std::optional<Answer> serve(clonesafe::block::Disk& disk, const Chain& chain,
                            const RequestOptions& options);

}  // namespace clonesafe::virtio::blk

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_BLOCK_REQUEST_H_
