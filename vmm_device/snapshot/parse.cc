// From bytes to a Snapshot: nothing is parsed before the checksum over it is checked, and nothing
// that passes the checksum is believed either.
#include <cstring>

#include "vmm_device/core/state_codec.h"
#include "vmm_device/snapshot/attached.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/mac.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

namespace {

template <std::size_t N>
std::array<std::byte, N> to_array(const std::byte (&bytes)[N]) {
  std::array<std::byte, N> array;
  std::memcpy(array.data(), bytes, N);
  return array;
}

std::string hex(std::uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

// With a key, nothing that does not have its MAC is looked at further.
Status check_mac(const format::Header& header, const std::string& name, const Key* key) {
  if (key == nullptr) return {};
  if (header.mac_algorithm == format::kMacNone)
    return fail(name + ", header: no MAC, and a key was given");
  auto mac = header_mac(*key, header);
  if (!mac) return fail(std::move(mac).error());
  if (!same_mac(*mac, header)) return fail(name + ", header: the MAC is not this key's");
  return {};
}

// The magic first, then the checksum of the header, then what it says.
Result<Header> parse_header(std::span<const std::byte> state, const std::string& name,
                            Origin origin, const Key* key) {
  const std::string where = name + ", header: ";
  format::Header raw;
  if (state.size() < sizeof raw.magic)
    return fail(name + ": not a snapshot's state file (only " + std::to_string(state.size()) +
                " bytes)");
  std::memcpy(&raw.magic, state.data(), sizeof raw.magic);
  if (raw.magic != format::kMagic)
    return fail(name + ": not a snapshot's state file (no CLSNAP01 at its start)");
  if (state.size() < sizeof raw)
    return fail(where + "cut short at byte " + std::to_string(state.size()));
  std::memcpy(&raw, state.data(), sizeof raw);
  auto digest = sha256(state.first(offsetof(format::Header, header_digest)));
  if (!digest) return fail(std::move(digest).error(), name);
  if (*digest != to_array(raw.header_digest)) return fail(where + "checksum mismatch");

  if (raw.major != format::kMajor)
    return fail(where + "format " + std::to_string(raw.major) + "." + std::to_string(raw.minor) +
                ", this version reads " + std::to_string(format::kMajor) + ".x");
  if (raw.header_length != format::kHeaderLength)
    return fail(where + "length " + std::to_string(raw.header_length) + ", expected " +
                std::to_string(format::kHeaderLength));
  if (raw.architecture != format::kArchitectureX86_64)
    return fail(where + "architecture " + std::to_string(raw.architecture) +
                ", this version runs x86-64 (1)");
  const bool is_image = (raw.flags & format::kFlagImage) != 0;
  if (is_image != (origin == Origin::image))
    return fail(where + (is_image ? "an image of a running machine, not a snapshot"
                                  : "a snapshot, not an image of a running machine"));
  if ((raw.flags & format::kCriticalFlags & ~format::kFlagImage) != 0)
    return fail(where + "flags " + hex(raw.flags) + " that this version doesn't know");
  if (raw.mac_algorithm > format::kMacHmacSha256)
    return fail(where + "is signed with MAC algorithm " + std::to_string(raw.mac_algorithm) +
                ", which this version can't check");
  if (auto status = check_mac(raw, name, key); !status) return fail(std::move(status).error());
  if (raw.page_shift != format::kPageShift)
    return fail(where + "page shift " + std::to_string(raw.page_shift) + ", expected 12");
  if (raw.chunk_size != format::kChunkSize)
    return fail(where + "chunk size " + std::to_string(raw.chunk_size) + ", expected 65536");
  if (raw.memory_size == 0 || raw.memory_size % format::kPageSize != 0)
    return fail(where + "memory of " + std::to_string(raw.memory_size) +
                " bytes is not in whole pages");
  // A later minor version may have put something there that this one may ignore.
  if (raw.minor <= format::kMinor &&
      (raw.reserved0 != 0 ||
       !all_zero(std::span(raw.mac).subspan(raw.mac_algorithm == format::kMacNone ? 0 : 32)) ||
       !all_zero(raw.reserved1)))
    return fail(where + "reserved bytes are not zero");
  if (raw.payload_length > format::kMaxPayload)
    return fail(where + "payload of " + std::to_string(raw.payload_length) +
                " bytes is over the limit of 64 MiB");
  const std::uint64_t payload = state.size() - sizeof raw;
  if (payload != raw.payload_length)
    return fail(name + ": payload has " + std::to_string(payload) + " bytes, the header says " +
                std::to_string(raw.payload_length));

  return Header{.format_major = raw.major,
                .format_minor = raw.minor,
                .architecture = raw.architecture,
                .flags = raw.flags,
                .created_ns = raw.created_ns,
                .memory_size = raw.memory_size,
                .page_shift = raw.page_shift,
                .chunk_size = raw.chunk_size,
                .payload_length = raw.payload_length,
                .payload_digest = to_array(raw.payload_digest),
                .chunk_table_digest = to_array(raw.chunk_table_digest),
                .id = to_array(raw.id),
                .parent = to_array(raw.parent),
                .has_mac = raw.mac_algorithm != format::kMacNone,
                .digest = *digest};
}

Result<std::vector<SectionView>> parse_sections(std::span<const std::byte> payload,
                                                std::uint16_t minor, const std::string& name) {
  std::vector<SectionView> sections;
  std::vector<std::size_t> counts;
  std::size_t position = 0;
  for (std::size_t number = 0; position < payload.size(); ++number) {
    const std::string where = name + ", section " + std::to_string(number) + " at byte " +
                              std::to_string(format::kHeaderLength + position) + ": ";
    if (number == format::kMaxSections)
      return fail(where + "more than " + std::to_string(format::kMaxSections) + " sections");
    format::SectionHeader raw;
    if (payload.size() - position < sizeof raw) return fail(where + "cut short");
    std::memcpy(&raw, payload.data() + position, sizeof raw);
    position += sizeof raw;
    if (raw.length > payload.size() - position)
      return fail(where + "length " + std::to_string(raw.length) + ", only " +
                  std::to_string(payload.size() - position) + " bytes are left");
    const bool critical = (raw.flags & format::kSectionCritical) != 0;
    if (minor <= format::kMinor && (raw.flags & ~format::kSectionCritical) != 0)
      return fail(where + "flags " + hex(raw.flags) + " that this version doesn't know");
    const auto info = tag_info(raw.tag);
    if (!info && critical)
      return fail(where + "tag " + std::to_string(raw.tag) +
                  " is unknown to this version, and the snapshot can't do without");
    if (info) {
      if (counts.size() <= raw.tag) counts.resize(raw.tag + 1);
      if (++counts[raw.tag] > info->max_count)
        return fail(where + std::string(info->name) + ": more than " +
                    std::to_string(info->max_count));
      sections.push_back({raw.tag, raw.version, critical,
                          payload.subspan(position, static_cast<std::size_t>(raw.length))});
    }
    position += static_cast<std::size_t>(raw.length);
  }
  return sections;
}

Result<std::vector<MemoryRegion>> parse_memory_map(const SectionView& section,
                                                   std::uint64_t memory_size,
                                                   const std::string& name) {
  StateDecoder decoder(name + ", memory map", section.bytes);
  if (section.version != format::kMemoryMapVersion)
    return decoder.corrupt("version " + std::to_string(section.version) + ", expected 1");
  auto count = decoder.get<std::uint32_t>();
  if (!count) return fail(std::move(count).error());
  if (*count == 0 || *count > format::kMaxRegions)
    return decoder.corrupt(std::to_string(*count) + " regions, expected 1 to " +
                           std::to_string(format::kMaxRegions));
  std::vector<MemoryRegion> map;
  std::uint64_t offset = 0;     // in the file; regions follow each other there
  std::uint64_t guest_end = 0;  // of the region before
  for (std::uint32_t i = 0; i < *count; ++i) {
    std::uint64_t start = 0, size = 0, file_offset = 0;
    for (std::uint64_t* field : {&start, &size, &file_offset}) {
      auto value = decoder.get<std::uint64_t>();
      if (!value) return fail(std::move(value).error());
      *field = *value;
    }
    const std::string region = "region " + std::to_string(i) + ": ";
    if (start % format::kPageSize != 0 || size % format::kPageSize != 0 || size == 0)
      return decoder.corrupt(region + "not in whole pages");
    if (start < guest_end || size > UINT64_MAX - start)
      return decoder.corrupt(region + "overlaps, is out of order, or wraps around");
    if (file_offset != offset || size > memory_size - offset)
      return decoder.corrupt(region + "lies elsewhere in memory.img than it must");
    map.push_back({GuestAddress(start), size, offset});
    guest_end = start + size;
    offset += size;
  }
  if (auto status = decoder.finish(); !status) return fail(std::move(status).error());
  if (offset != memory_size)
    return fail(name + ", memory map: regions of " + std::to_string(offset) +
                " bytes, the header says " + std::to_string(memory_size));
  return map;
}

Result<PageSet> parse_layer(const SectionView& section, const Header& header,
                            const std::string& name) {
  const std::string where = name + ", layer: ";
  if (section.version != format::kLayerVersion)
    return fail(where + "version " + std::to_string(section.version) + ", expected 1");
  if (header.parent == Digest{}) return fail(where + "the header names no parent");
  const std::uint64_t pages = header.memory_size / format::kPageSize;
  if (section.bytes.size() != PageSet::bytes_for(pages))
    return fail(where + std::to_string(section.bytes.size()) +
                " bytes, expected a bit for each of " + std::to_string(pages) + " pages");
  if (pages % 8 != 0 && std::to_integer<unsigned>(section.bytes.back()) >> pages % 8 != 0)
    return fail(where + "pages past the end of memory");
  return PageSet(pages, section.bytes);
}

Result<std::span<const std::byte>> parse_chunk_digests(const Snapshot& snapshot,
                                                       const std::string& name) {
  const Header& header = snapshot.header();
  auto table = snapshot.section(Tag::chunk_digests);
  if (!table) return fail(name + ": no chunk digests");
  if (table->version != format::kChunkDigestsVersion)
    return fail(name + ", chunk digests: version " + std::to_string(table->version) +
                ", expected 1");
  // No overflow: the map is right, so the size is that of real regions; the division rounds up.
  const std::uint64_t chunks = (header.memory_size - 1) / format::kChunkSize + 1;
  if (table->bytes.size() % sizeof(Digest) != 0 || table->bytes.size() / sizeof(Digest) != chunks)
    return fail(name + ", chunk digests: " + std::to_string(table->bytes.size()) +
                " bytes, expected 32 for each of " + std::to_string(chunks) + " chunks");
  auto table_digest = sha256(table->bytes);
  if (!table_digest) return fail(std::move(table_digest).error(), name);
  if (*table_digest != header.chunk_table_digest)
    return fail(name + ", chunk digests: checksum mismatch");
  return table->bytes;
}

}  // namespace

Result<Snapshot> parse_state(std::vector<std::byte> state, const std::string& name, Origin origin,
                             const Key* key) {
  Snapshot snapshot;
  snapshot.state_ = std::make_shared<const std::vector<std::byte>>(std::move(state));
  const std::span<const std::byte> bytes(*snapshot.state_);
  auto header = parse_header(bytes, name, origin, key);
  if (!header) return fail(std::move(header).error());
  snapshot.header_ = *header;

  const auto payload = bytes.subspan(format::kHeaderLength);
  auto digest = sha256(payload);
  if (!digest) return fail(std::move(digest).error(), name);
  if (*digest != header->payload_digest) return fail(name + ", payload: checksum mismatch");

  auto sections = parse_sections(payload, header->format_minor, name);
  if (!sections) return fail(std::move(sections).error());
  snapshot.sections_ = std::move(*sections);

  auto map = snapshot.section(Tag::memory_map);
  if (!map) return fail(name + ": no memory map");
  auto regions = parse_memory_map(*map, header->memory_size, name);
  if (!regions) return fail(std::move(regions).error());
  snapshot.memory_map_ = std::move(*regions);

  // An image's memory has never been in a file: there is nothing to check it against.
  if (origin == Origin::file) {
    auto digests = parse_chunk_digests(snapshot, name);
    if (!digests) return fail(std::move(digests).error());
    snapshot.chunk_digests_ = *digests;
  }

  auto attached = parse_attached(snapshot, name);
  if (!attached) return fail(std::move(attached).error());
  snapshot.attached_files_ = std::move(*attached);

  if (snapshot.count(Tag::layer) != 0) {
    auto layer = parse_layer(*snapshot.section(Tag::layer), *header, name);
    if (!layer) return fail(std::move(layer).error());
    snapshot.layer_ = std::move(*layer);
  }
  return snapshot;
}

bool Snapshot::agent_connected() const {
  return (header_.flags & format::kFlagAgentConnected) != 0;
}

std::size_t Snapshot::count(Tag tag) const {
  std::size_t found = 0;
  for (const SectionView& section : sections_)
    if (section.tag == static_cast<std::uint32_t>(tag)) ++found;
  return found;
}

Result<SectionView> Snapshot::section(Tag tag, std::size_t index) const {
  std::size_t found = 0;
  for (const SectionView& section : sections_)
    if (section.tag == static_cast<std::uint32_t>(tag) && found++ == index) return section;
  const auto info = tag_info(static_cast<std::uint32_t>(tag));
  return fail((directory_ / kStateFile).string() + ": no section \"" +
              std::string(info ? info->name : "?") + "\" " + std::to_string(index));
}

}  // namespace clonesafe::snapshot
