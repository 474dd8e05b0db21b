#include "vmm_device/block/layer_header.h"

#include <algorithm>
#include <cstring>

#include "vmm_device/core/page_set.h"
#include "vmm_device/snapshot/digest.h"

namespace clonesafe::block {
namespace {

using format::LayerHeader;

Result<snapshot::Digest> digest_of(std::span<const std::byte> header) {
  return snapshot::sha256(header.first(offsetof(LayerHeader, digest)));
}

std::uint64_t whole_clusters(std::uint64_t bytes) {
  return (bytes + format::kClusterSize - 1) / format::kClusterSize;
}

}  // namespace

LayerShape layer_shape(std::uint64_t capacity) {
  LayerShape shape;
  shape.clusters = whole_clusters(capacity);
  shape.map_size = PageSet::bytes_for(shape.clusters);
  shape.data_offset = format::kHeaderLength + whole_clusters(shape.map_size) * format::kClusterSize;
  shape.file_size = shape.data_offset + shape.clusters * format::kClusterSize;
  return shape;
}

Status check_layer_capacity(std::uint64_t capacity, const std::string& name) {
  if (capacity == 0 || capacity % kSectorSize != 0 || capacity > format::kMaxCapacity)
    return fail(name + ": a layer over " + std::to_string(capacity) +
                " bytes: whole sectors, 1 to 4 TiB, are possible");
  return {};
}

Result<LayerHeader> make_layer_header(const ImageIdentity& base) {
  LayerHeader header{};
  std::ranges::copy(format::kMagic, header.magic);
  header.version = format::kVersion;
  header.header_length = format::kHeaderLength;
  header.cluster_size = format::kClusterSize;
  header.capacity = base.size;
  header.base_modified_ns = base.modified_ns;
  std::memcpy(header.base_head, base.head.data(), sizeof header.base_head);
  header.data_offset = layer_shape(base.size).data_offset;
  auto digest = digest_of(std::as_bytes(std::span(&header, 1)));
  if (!digest) return fail(std::move(digest).error());
  std::memcpy(header.digest, digest->data(), sizeof header.digest);
  return header;
}

Result<ParsedLayer> parse_layer_header(std::span<const std::byte> bytes, const std::string& name) {
  const auto bad = [&](const std::string& why) { return fail(name + ": " + why); };
  LayerHeader header{};
  if (bytes.size() < sizeof header) return bad("no layer: shorter than a header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (!std::ranges::equal(header.magic, format::kMagic)) return bad("no layer: another magic");
  if (header.version != format::kVersion)
    return bad("layer of version " + std::to_string(header.version) + ", this program reads " +
               std::to_string(format::kVersion));
  auto digest = digest_of(bytes);
  if (!digest) return fail(std::move(digest).error());
  if (std::memcmp(digest->data(), header.digest, sizeof header.digest) != 0)
    return bad("layer with a damaged header");
  if (header.header_length != format::kHeaderLength)
    return bad("layer with a header of " + std::to_string(header.header_length) + " bytes");
  if (header.cluster_size != format::kClusterSize)
    return bad("layer with clusters of " + std::to_string(header.cluster_size) + " bytes");
  if (auto possible = check_layer_capacity(header.capacity, name); !possible)
    return fail(std::move(possible).error());
  if (header.data_offset != layer_shape(header.capacity).data_offset)
    return bad("layer whose data begins at " + std::to_string(header.data_offset));
  const auto zero = [](std::uint8_t byte) { return byte == 0; };
  if (header.reserved0 != 0 || !std::ranges::all_of(header.reserved1, zero) ||
      !std::ranges::all_of(header.reserved2, zero) ||
      (header.commit_mark != 0 && header.commit_mark != format::kCommitMark))
    return bad("layer with something in reserved fields");
  ImageIdentity base{.size = header.capacity, .modified_ns = header.base_modified_ns};
  std::memcpy(base.head.data(), header.base_head, sizeof header.base_head);
  return ParsedLayer{.base = base, .being_committed = header.commit_mark != 0};
}

}  // namespace clonesafe::block
