#include "vmm_device/machine/disk_record.h"

#include <limits.h>

#include <algorithm>

#include "vmm_device/core/state_codec.h"
#include "vmm_device/machine/machine_config.h"

namespace clonesafe {
namespace {

constexpr std::uint8_t kReadOnly = 1, kHasLayer = 2;
constexpr std::uint16_t kVersion = 1;

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool printable_path(const std::string& path) {
  return path.starts_with('/') && std::ranges::none_of(path, [](char c) {
           return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
         });
}

Result<DiskRecord> decode(StateDecoder& state) {
  DiskRecord record;
  const auto flags = state.get<std::uint8_t>();
  if (!flags) return fail(flags.error());
  if ((*flags & ~(kReadOnly | kHasLayer)) != 0 || *flags == (kReadOnly | kHasLayer))
    return state.corrupt("flags " + std::to_string(*flags));
  record.read_only = (*flags & kReadOnly) != 0;
  record.has_layer = (*flags & kHasLayer) != 0;
  const auto image = state.get_bytes(PATH_MAX);
  if (!image) return fail(image.error());
  record.image = text(*image);
  if (!printable_path(record.image)) return state.corrupt("no path of an image");
  const auto serial = state.get_bytes(kMaxSerial);
  if (!serial) return fail(serial.error());
  record.serial = text(*serial);
  if (!check_serial(record.serial)) return state.corrupt("no serial number");
  const auto size = state.get<std::uint64_t>();
  if (!size) return fail(size.error());
  const auto modified = state.get<std::int64_t>();
  if (!modified) return fail(modified.error());
  const auto head = state.get_struct<snapshot::Digest>();
  if (!head) return fail(head.error());
  record.identity = {.size = *size, .modified_ns = *modified, .head = *head};
  if (auto done = state.finish(); !done) return fail(done.error());
  return record;
}

}  // namespace

Result<DiskRecord> record_of(const block::Disk& disk, const std::string& serial) {
  auto identity = disk.base();
  if (!identity) return fail(identity.error());
  const std::string& image = disk.image().file().name();
  if (!printable_path(image)) return fail("an image's name with control characters can't be kept");
  return DiskRecord{.image = image,
                    .read_only = disk.read_only(),
                    .has_layer = !disk.layers().empty(),
                    .serial = serial,
                    .identity = *identity};
}

std::vector<std::byte> encode(const DiskRecord& record) {
  StateEncoder state;
  state.put(static_cast<std::uint8_t>((record.read_only ? kReadOnly : 0) |
                                      (record.has_layer ? kHasLayer : 0)));
  state.put_bytes(std::as_bytes(std::span(record.image)));
  state.put_bytes(std::as_bytes(std::span(record.serial)));
  state.put(record.identity.size);
  state.put(record.identity.modified_ns);
  state.put_struct(record.identity.head);
  return state.take();
}

std::string disk_layer_file(std::size_t disk) {
  return "disk" + std::to_string(disk) + ".layer";
}

Result<std::vector<DiskRecord>> decode_disk_records(const snapshot::Snapshot& snapshot) {
  std::vector<DiskRecord> records;
  std::size_t layers = 0;
  for (std::size_t index = 0; index < snapshot.count(snapshot::Tag::disk); ++index) {
    const auto section = snapshot.section(snapshot::Tag::disk, index);
    if (!section) return fail(section.error());
    StateDecoder state("disk " + std::to_string(index), section->bytes);
    if (section->version != kVersion)
      return state.corrupt("version " + std::to_string(section->version) + ", this version reads " +
                           std::to_string(kVersion));
    auto record = decode(state);
    if (!record) return fail(record.error());
    if (record->has_layer) {
      const auto& files = snapshot.attached_files();
      if (layers == files.size() || files[layers].name != disk_layer_file(index))
        return state.corrupt("the snapshot has no " + disk_layer_file(index));
      ++layers;
    }
    records.push_back(std::move(*record));
  }
  if (layers != snapshot.attached_files().size())
    return fail("attached file \"" + snapshot.attached_files()[layers].name +
                "\": belongs to no disk");
  return records;
}

}  // namespace clonesafe
