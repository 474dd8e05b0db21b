#include "vmm_device/snapshot/encode.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "vmm_device/core/state_codec.h"
#include "vmm_device/snapshot/attached.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/mac.h"

namespace clonesafe::snapshot {

Result<MemoryImage> MemoryImage::create(const WriteRequest& request) {
  MemoryImage image;
  std::uint64_t guest_end = 0;
  const auto& regions = request.memory.regions();
  if (regions.empty() || regions.size() > format::kMaxRegions)
    return fail("guest memory of " + std::to_string(regions.size()) + " regions");
  for (const GuestMemory::Region& region : regions) {
    const std::uint64_t start = region.start.value();
    const std::uint64_t size = region.bytes.size();
    if (start % format::kPageSize != 0 || size % format::kPageSize != 0 || size == 0 ||
        start < guest_end || size > UINT64_MAX - start)
      return fail("guest memory's regions are not whole pages in order");
    image.regions_.push_back({region, image.size_});
    image.size_ += size;
    guest_end = start + size;
  }
  if (request.changed != nullptr) {
    if (request.changed->pages() != image.size_ / format::kPageSize)
      return fail("the set of changed pages is not of this memory");
    if (request.parent == Digest{}) return fail("an incremental snapshot needs a parent");
    image.changed_ = *request.changed;
  }
  for (const ZeroRange& range : request.zero_ranges) {
    auto offset = image.offset_of(range);
    if (!offset) return fail(std::move(offset).error());
    image.zeros_.push_back({*offset, *offset + range.size});
    // The parent may have been written before the range was a secret.
    if (image.changed_ && range.size != 0)
      for (std::uint64_t page = *offset / format::kPageSize;
           page <= (*offset + range.size - 1) / format::kPageSize; ++page)
        image.changed_->insert(page);
  }
  return image;
}

void MemoryImage::copy(std::uint64_t offset, std::span<std::byte> to) const {
  const std::uint64_t end = offset + to.size();
  const auto overlap = [&](std::uint64_t first, std::uint64_t last, auto use) {
    first = std::max(first, offset);
    last = std::min(last, end);
    if (first < last)
      use(first, to.subspan(static_cast<std::size_t>(first - offset),
                            static_cast<std::size_t>(last - first)));
  };
  for (const Placed& placed : regions_)
    overlap(placed.offset, placed.offset + placed.region.bytes.size(),
            [&](std::uint64_t first, std::span<std::byte> part) {
              std::memcpy(part.data(), placed.region.bytes.data() + (first - placed.offset),
                          part.size());
            });
  for (const auto& [first, last] : zeros_)
    overlap(first, last, [](std::uint64_t, std::span<std::byte> part) {
      std::memset(part.data(), 0, part.size());
    });
  if (!changed_) return;
  for (std::uint64_t at = 0; at < to.size(); at += format::kPageSize)
    if (!changed_->contains((offset + at) / format::kPageSize))
      std::memset(to.data() + at, 0, format::kPageSize);
}

Section MemoryImage::memory_map() const {
  StateEncoder encoder;
  encoder.put(static_cast<std::uint32_t>(regions_.size()));
  for (const Placed& placed : regions_) {
    encoder.put(placed.region.start.value());
    encoder.put(std::uint64_t{placed.region.bytes.size()});
    encoder.put(placed.offset);
  }
  return {.tag = Tag::memory_map, .version = format::kMemoryMapVersion, .bytes = encoder.take()};
}

Result<std::uint64_t> MemoryImage::offset_of(const ZeroRange& range) const {
  for (const Placed& placed : regions_) {
    if (range.start < placed.region.start) continue;
    const std::uint64_t offset = range.start.value() - placed.region.start.value();
    if (offset < placed.region.bytes.size() && range.size <= placed.region.bytes.size() - offset)
      return placed.offset + offset;
  }
  // Never written without it: the range may be a secret.
  return fail("the range to be zeroed \"" + range.name + "\" is not in guest memory");
}

namespace {

void append(std::vector<std::byte>& payload, const Section& section) {
  const format::SectionHeader header{
      .tag = static_cast<std::uint32_t>(section.tag),
      .version = section.version,
      .flags = section.critical ? format::kSectionCritical : std::uint16_t{0},
      .length = section.bytes.size()};
  const auto raw = std::as_bytes(std::span(&header, 1));
  payload.insert(payload.end(), raw.begin(), raw.end());
  payload.insert(payload.end(), section.bytes.begin(), section.bytes.end());
}

// A reader of an older version then has nothing to refuse.
std::uint16_t lowest_minor(const WriteRequest& request, const MemoryImage& image) {
  std::uint16_t minor = image.changed() ? format::kMinorLayer : format::kMinorWhole;
  if (request.key != nullptr) minor = std::max(minor, format::kMinorMac);
  const auto has = [&](Tag tag) {
    return std::ranges::find(request.sections, tag, &Section::tag) != request.sections.end();
  };
  if (has(Tag::secret_pages)) minor = std::max(minor, format::kMinorSecretPages);
  if (!request.files.empty() || has(Tag::disk)) minor = std::max(minor, format::kMinorDisks);
  if (has(Tag::network_devices)) minor = std::max(minor, format::kMinorNetworkDevices);
  if (has(Tag::balloon)) minor = std::max(minor, format::kMinorBalloon);
  return minor;
}

}  // namespace

Result<std::vector<std::byte>> encode_state(const WriteRequest& request, const MemoryImage& image,
                                            std::span<const AttachedFile> attached,
                                            std::vector<std::byte> chunk_digests, Kept kept) {
  auto table_digest = sha256(chunk_digests);
  if (!table_digest) return fail(std::move(table_digest).error());
  std::vector<std::byte> payload;
  append(payload, image.memory_map());
  for (const Section& section : request.sections) {
    if (section.tag == Tag::memory_map || section.tag == Tag::chunk_digests ||
        section.tag == Tag::layer || section.tag == Tag::attached_file)
      return fail(
          "memory map, chunk digests, layer and attached files are not the caller's to give");
    append(payload, section);
  }
  for (const AttachedFile& file : attached) append(payload, encode_attached(file));
  if (kept == Kept::in_files)
    append(payload, {.tag = Tag::chunk_digests,
                     .version = format::kChunkDigestsVersion,
                     .bytes = std::move(chunk_digests)});
  if (const auto& changed = image.changed())
    append(payload, {.tag = Tag::layer,
                     .version = format::kLayerVersion,
                     .bytes = {changed->bytes().begin(), changed->bytes().end()}});
  auto payload_digest = sha256(payload);
  if (!payload_digest) return fail(std::move(payload_digest).error());

  format::Header header = {};
  header.magic = format::kMagic;
  header.major = format::kMajor;
  header.minor = lowest_minor(request, image);
  header.header_length = format::kHeaderLength;
  header.architecture = format::kArchitectureX86_64;
  header.flags = (request.agent_connected ? format::kFlagAgentConnected : 0) |
                 (kept == Kept::in_memory ? format::kFlagImage : 0);
  timespec now = {};
  if (::clock_gettime(CLOCK_REALTIME, &now) != 0) return fail_errno("clock_gettime");
  header.created_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
                      static_cast<std::uint64_t>(now.tv_nsec);
  header.memory_size = image.size();
  header.page_shift = format::kPageShift;
  header.chunk_size = format::kChunkSize;
  header.payload_length = payload.size();
  std::ranges::copy(*payload_digest, header.payload_digest);
  std::ranges::copy(*table_digest, header.chunk_table_digest);
  if (::getrandom(header.id, sizeof header.id, 0) != sizeof header.id)
    return fail_errno("getrandom");
  std::ranges::copy(request.parent, header.parent);
  if (request.key != nullptr) {
    header.mac_algorithm = format::kMacHmacSha256;
    auto mac = header_mac(*request.key, header);
    if (!mac) return fail(std::move(mac).error());
    std::ranges::copy(*mac, header.mac);
  }
  const auto raw = std::as_bytes(std::span(&header, 1));
  auto digest = sha256(raw.first(offsetof(format::Header, header_digest)));
  if (!digest) return fail(std::move(digest).error());
  std::ranges::copy(*digest, header.header_digest);
  std::vector<std::byte> state(raw.begin(), raw.end());
  state.insert(state.end(), payload.begin(), payload.end());
  return state;
}

}  // namespace clonesafe::snapshot
