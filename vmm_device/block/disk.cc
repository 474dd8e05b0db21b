#include "vmm_device/block/disk.h"

#include <algorithm>
#include <array>
#include <ranges>

#include "vmm_device/snapshot/digest.h"

namespace clonesafe::block {
namespace {

constexpr std::uint64_t kCluster = Layer::kClusterSize;

std::uint64_t round_up(std::uint64_t bytes) {
  return (bytes + kCluster - 1) / kCluster;
}

}  // namespace

Status Disk::add(Layer layer, Match match) {
  if (layer.being_committed())
    return fail(layer.file().name() + ": is being committed: finish that with clonevm commit");
  auto identity = image_.identity();
  if (!identity) return fail(std::move(identity).error());
  if (!matches(layer.base(), *identity, match))
    return fail(layer.file().name() + ": a layer over another image than " + image_.file().name() +
                " is: " + difference(layer.base(), *identity));
  layers_.push_back(std::move(layer));
  return {};
}

// The topmost layer that has it; null: the image does.
const Layer* Disk::owner_of(std::uint64_t cluster) const {
  for (const Layer& layer : std::views::reverse(layers_))
    if (layer.has(cluster)) return &layer;
  return nullptr;
}

Status Disk::read(std::span<const iovec> buffers, std::uint64_t offset) const {
  const std::uint64_t start = offset;
  const std::uint64_t end = offset + total_size(buffers);
  while (offset < end) {
    // As far as one file has it.
    const Layer* owner = layers_.empty() ? nullptr : owner_of(offset / kCluster);
    std::uint64_t stop = end;
    if (!layers_.empty()) {
      std::uint64_t next = offset / kCluster + 1;
      while (next * kCluster < end && owner_of(next) == owner) ++next;
      stop = std::min(end, next * kCluster);
    }
    const Buffers part = part_of(buffers, offset - start, stop - offset);
    auto read = owner != nullptr ? owner->read(part, offset) : image_.file().read(part, offset);
    if (!read) return read;
    offset = stop;
  }
  return {};
}

// Brings a whole cluster into the top layer, so that a part of it can be written there.
Status Disk::copy_up(std::uint64_t cluster) {
  if (layers_.back().has(cluster)) return {};
  std::array<std::byte, kCluster> bytes{};
  const std::uint64_t offset = cluster * kCluster;
  const iovec buffer{bytes.data(), std::min<std::uint64_t>(kCluster, capacity() - offset)};
  if (auto got = read({&buffer, 1}, offset); !got) return got;
  const iovec whole{bytes.data(), bytes.size()};
  return layers_.back().write({&whole, 1}, offset);
}

Status Disk::write(std::span<const iovec> buffers, std::uint64_t offset) {
  written_ = true;
  if (layers_.empty()) return image_.file().write(buffers, offset);
  const std::uint64_t end = offset + total_size(buffers);
  if (end == offset) return {};
  // The first and the last cluster, if they are written in part.
  if (offset % kCluster != 0) {
    if (auto copied = copy_up(offset / kCluster); !copied) return copied;
  }
  if (end % kCluster != 0) {
    if (auto copied = copy_up(end / kCluster); !copied) return copied;
  }
  return layers_.back().write(buffers, offset);
}

Status Disk::discard(std::uint64_t offset, std::uint64_t size) {
  written_ = true;
  if (layers_.empty()) return image_.file().punch(offset, size);
  const std::uint64_t first = round_up(offset);
  const std::uint64_t last = (offset + size) / kCluster;
  return first < last ? layers_.back().zero(first, last - first) : Status();
}

Status Disk::write_zeroes(std::uint64_t offset, std::uint64_t size, bool may_unmap) {
  written_ = true;
  if (layers_.empty())
    return may_unmap ? image_.file().punch(offset, size) : image_.file().write_zeroes(offset, size);
  static constexpr std::array<std::byte, kCluster> kZeroCluster{};
  const auto write_part = [&](std::uint64_t from, std::uint64_t to) {
    const iovec zeros{const_cast<std::byte*>(kZeroCluster.data()), to - from};
    return from < to ? write({&zeros, 1}, from) : Status();
  };
  const std::uint64_t end = offset + size;
  const std::uint64_t first = round_up(offset);
  const std::uint64_t last = end / kCluster;
  if (first >= last) {
    // No whole cluster: at most a part of each of two.
    const std::uint64_t middle = std::min(end, first * kCluster);
    if (auto written = write_part(offset, middle); !written) return written;
    return write_part(middle, end);
  }
  if (auto written = write_part(offset, first * kCluster); !written) return written;
  if (auto zeroed = layers_.back().zero(first, last - first); !zeroed) return zeroed;
  return write_part(last * kCluster, end);
}

Status Disk::flush() {
  if (read_only_ || !written_) return {};
  auto flushed = layers_.empty() ? image_.file().sync() : layers_.back().flush();
  // After an error it is not known what the disk has: the next flush must not call it done.
  if (flushed) written_ = false;
  return flushed;
}

Result<ImageIdentity> Disk::base() const {
  if (!layers_.empty()) return layers_.front().base();
  return image_.identity();
}

Result<Layer> Disk::flatten(UniqueFd to, const std::string& name, const ImageIdentity& base) const {
  auto flat = Layer::create(std::move(to), name, base);
  if (!flat) return flat;
  std::vector<std::byte> bytes(16 * kCluster);
  for (std::uint64_t cluster = 0; cluster < flat->clusters();) {
    const Layer* owner = owner_of(cluster);
    std::uint64_t next = cluster + 1;
    if (owner == nullptr) {
      cluster = next;
      continue;
    }
    while (next < flat->clusters() && next - cluster < 16 && owner_of(next) == owner) ++next;
    const iovec buffer{bytes.data(), static_cast<std::size_t>((next - cluster) * kCluster)};
    if (auto got = owner->read({&buffer, 1}, cluster * kCluster); !got)
      return fail(std::move(got).error());
    const bool zero = snapshot::all_zero(std::span(bytes).first(buffer.iov_len));
    auto put =
        zero ? flat->zero(cluster, next - cluster) : flat->write({&buffer, 1}, cluster * kCluster);
    if (!put) return fail(std::move(put).error());
    cluster = next;
  }
  if (auto flushed = flat->flush(); !flushed) return fail(std::move(flushed).error());
  return flat;
}

}  // namespace clonesafe::block
