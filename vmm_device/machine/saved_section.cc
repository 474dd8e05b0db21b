#include "vmm_device/machine/saved_section.h"

#include <string>

namespace clonesafe {

Result<snapshot::SectionView> known_section(const snapshot::Snapshot& snapshot, snapshot::Tag tag,
                                            std::size_t index, std::uint16_t newest) {
  auto section = snapshot.section(tag, index);
  if (!section) return fail(section.error());
  if (section->version < 1 || section->version > newest)
    return fail("section \"" +
                std::string(snapshot::tag_info(static_cast<std::uint32_t>(tag))->name) + "\" " +
                std::to_string(index) + ": version " + std::to_string(section->version) +
                ", this version reads 1 to " + std::to_string(newest));
  return section;
}

Result<std::span<const std::byte>> section_bytes(const snapshot::Snapshot& snapshot,
                                                 snapshot::Tag tag, std::size_t index,
                                                 std::uint16_t newest) {
  auto section = known_section(snapshot, tag, index, newest);
  if (!section) return fail(section.error());
  return section->bytes;
}

Result<std::vector<NetConfig>> saved_nets(const snapshot::Snapshot& snapshot) {
  if (snapshot.count(snapshot::Tag::network_devices) == 0) return std::vector<NetConfig>();
  auto bytes = section_bytes(snapshot, snapshot::Tag::network_devices);
  if (!bytes) return fail(bytes.error());
  return decode_nets(*bytes);
}

Result<std::optional<BalloonConfig>> saved_balloon(const snapshot::Snapshot& snapshot) {
  if (snapshot.count(snapshot::Tag::balloon) == 0) return std::nullopt;
  auto bytes = section_bytes(snapshot, snapshot::Tag::balloon);
  if (!bytes) return fail(bytes.error());
  auto balloon = decode_balloon(*bytes);
  if (!balloon) return fail(balloon.error());
  return *balloon;
}

}  // namespace clonesafe
