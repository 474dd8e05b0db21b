#include "vmm_device/virtio/block_request.h"

#include <algorithm>
#include <array>

namespace clonesafe::virtio::blk {
namespace {

using clonesafe::block::Buffers;
using clonesafe::block::Disk;
using clonesafe::block::kSectorSize;

Answer refused(RequestStatus status = RequestStatus::kIoError) {
  return {.status = status};
}

Answer answer_of(const Status& done) {
  if (done) return {};
  return {.status = RequestStatus::kIoError, .error = done.error()};
}

template <typename Span>
Buffers buffers_of(const std::vector<Span>& parts) {
  Buffers buffers;
  buffers.reserve(parts.size());
  for (const auto& part : parts)
    buffers.push_back({const_cast<std::byte*>(part.data()), part.size()});
  return buffers;
}

bool inside(const Disk& disk, std::uint64_t sector, std::uint64_t sectors) {
  const std::uint64_t all = disk.capacity() / kSectorSize;
  return sector <= all && sectors <= all - sector;
}

Answer read(const Disk& disk, const Chain& chain, std::uint64_t sector, std::uint32_t size) {
  if (chain.readable_size != sizeof(RequestHeader) || size % kSectorSize != 0 ||
      !inside(disk, sector, size / kSectorSize))
    return refused();
  const Buffers to = clonesafe::block::part_of(buffers_of(chain.writable), 0, size);
  Answer answer = answer_of(disk.read(to, sector * kSectorSize));
  // After an error nobody knows how far it went.
  if (answer.status == RequestStatus::kOk) answer.written = size;
  answer.bytes = answer.written;
  return answer;
}

Answer write(Disk& disk, const Chain& chain, std::uint64_t sector, std::uint32_t size,
             bool write_through) {
  const std::uint32_t data =
      chain.readable_size - static_cast<std::uint32_t>(sizeof(RequestHeader));
  if (disk.read_only() || size != 0 || data % kSectorSize != 0 ||
      !inside(disk, sector, data / kSectorSize))
    return refused();
  const Buffers from =
      clonesafe::block::part_of(buffers_of(chain.readable), sizeof(RequestHeader), data);
  auto done = disk.write(from, sector * kSectorSize);
  if (done && write_through) done = disk.flush();
  Answer answer = answer_of(done);
  if (answer.status == RequestStatus::kOk) answer.bytes = data;
  return answer;
}

Answer get_id(const Chain& chain, const std::string& serial, std::uint32_t size) {
  if (chain.readable_size != sizeof(RequestHeader) || size < kIdSize) return refused();
  std::array<std::byte, kIdSize> id{};
  std::ranges::copy(std::as_bytes(std::span(serial)).first(std::min(serial.size(), kIdSize)),
                    id.begin());
  chain.write(id);
  return {.written = kIdSize};
}

// A discard or a write of zeroes: all segments are looked at before any is done.
Answer unmap(Disk& disk, const Chain& chain, RequestType type, std::uint32_t size,
             bool write_through) {
  const std::uint32_t data =
      chain.readable_size - static_cast<std::uint32_t>(sizeof(RequestHeader));
  const std::uint32_t count = data / sizeof(Segment);
  if (disk.read_only() || size != 0 || data % sizeof(Segment) != 0 || count == 0 ||
      count > kMaxSegments)
    return refused();
  std::array<Segment, kMaxSegments> segments{};
  const auto given = std::span(segments).first(count);
  if (!chain.read(sizeof(RequestHeader), std::as_writable_bytes(given))) return refused();
  const bool is_discard = type == RequestType::kDiscard;
  for (const Segment& segment : given) {
    // 5.2.6.2: a flag that is not known, and for a discard any, is not supported.
    if ((segment.flags & (is_discard ? ~0u : ~kSegmentUnmap)) != 0)
      return refused(RequestStatus::kUnsupported);
    if (segment.sectors > kMaxDiscardSectors || !inside(disk, segment.sector, segment.sectors))
      return refused();
  }
  Status done;
  for (const Segment& segment : given) {
    const std::uint64_t offset = segment.sector * kSectorSize;
    const std::uint64_t bytes = segment.sectors * kSectorSize;
    if (bytes == 0) continue;
    done = is_discard ? disk.discard(offset, bytes)
                      : disk.write_zeroes(offset, bytes, (segment.flags & kSegmentUnmap) != 0);
    if (!done) break;
  }
  if (done && write_through) done = disk.flush();
  return answer_of(done);
}

Answer answer_to(Disk& disk, const Chain& chain, const RequestOptions& options) {
  RequestHeader header{};
  const auto bytes = std::as_writable_bytes(std::span<RequestHeader, 1>(&header, 1));
  if (!chain.read(0, bytes)) return refused();
  const std::uint32_t size = chain.writable_size - 1;  // without the status
  const auto type = static_cast<RequestType>(header.type);
  Answer answer;
  switch (type) {
    case RequestType::kIn:
      answer = read(disk, chain, header.sector, size);
      break;
    case RequestType::kOut:
      answer = write(disk, chain, header.sector, size, options.write_through);
      break;
    case RequestType::kFlush:
      answer = answer_of(disk.flush());
      break;
    case RequestType::kGetId:
      answer = get_id(chain, options.serial, size);
      break;
    case RequestType::kDiscard:
    case RequestType::kWriteZeroes:
      answer = unmap(disk, chain, type, size, options.write_through);
      break;
    default:
      answer = refused(RequestStatus::kUnsupported);
      break;
  }
  answer.type = type;
  return answer;
}

}  // namespace

bool is_durable(const Chain& chain, const RequestOptions& options) {
  RequestHeader header{};
  if (!chain.read(0, std::as_writable_bytes(std::span<RequestHeader, 1>(&header, 1)))) return false;
  switch (static_cast<RequestType>(header.type)) {
    case RequestType::kFlush:
      return true;
    case RequestType::kOut:
    case RequestType::kDiscard:
    case RequestType::kWriteZeroes:
      return options.write_through;
    default:
      return false;
  }
}

std::optional<Answer> serve(Disk& disk, const Chain& chain, const RequestOptions& options) {
  if (chain.writable_size == 0) return std::nullopt;
  Answer answer = answer_to(disk, chain, options);
  // The last byte of the chain.
  chain.writable.back().back() = static_cast<std::byte>(answer.status);
  // What is behind the used length the driver may not look at; of an error it reads the status.
  answer.written = answer.written == chain.writable_size - 1 ? chain.writable_size : answer.written;
  return answer;
}

}  // namespace clonesafe::virtio::blk
