#include "vmm_device/cli/restored_disks.h"

#include <fcntl.h>

#include <charconv>

#include "vmm_device/cli/disks.h"
#include "vmm_device/machine/disk_record.h"

namespace clonesafe::cli {
namespace {

using block::Lock;
using block::Match;

std::string disk_name(std::size_t disk) {
  return "disk " + std::to_string(disk);
}

Result<block::Disk> open_restored_disk(const DiskRecord& record, const CloneDisks& options,
                                       std::size_t index) {
  std::string path = record.image;
  auto match = Match::kUnwritten;
  if (const auto given = options.images.find(index); given != options.images.end()) {
    auto absolute = absolute_path(given->second);
    if (!absolute) return fail(absolute.error());
    path = std::move(*absolute);
    match = Match::kCopy;
  }
  const bool in_place = options.move && !record.read_only && !record.has_layer;
  auto image = block::DiskImage::open(path, in_place ? Lock::kExclusive : Lock::kShared);
  if (!image) return fail(image.error());
  auto identity = image->identity();
  if (!identity) return fail(identity.error());
  if (!block::matches(record.identity, *identity, match))
    return fail(
        path + ": not the image of the snapshot: " + block::difference(record.identity, *identity));
  return block::Disk(std::move(*image), record.read_only);
}

Status add_snapshots_layer(const snapshot::Snapshot& snapshot, std::size_t file,
                           block::Disk& disk) {
  auto fd = snapshot.open_attached(file);
  if (!fd) return fail(fd.error());
  const std::string name = (snapshot.directory() / snapshot.attached_files()[file].name).string();
  auto layer = block::Layer::adopt(std::move(*fd), name, Lock::kShared);
  if (!layer) return fail(layer.error());
  // The image was compared with what the snapshot says of it.
  return disk.add(std::move(*layer), Match::kCopy);
}

Result<block::Layer> make_layer(const block::Disk& disk, std::size_t index, bool keep) {
  // Over the image as it is here: a copy has another time.
  auto base = disk.image().identity();
  if (!base) return fail(base.error());
  if (!keep) {
    auto fd = unnamed_file(".");
    if (!fd) return fail(fd.error());
    return block::Layer::create(std::move(*fd), "layer of " + disk_name(index), *base);
  }
  const std::string name = disk_layer_file(index);
  UniqueFd fd(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(name);
  return disk.flatten(std::move(fd), name, *base);
}

}  // namespace

Result<ImageArgument> parse_image(std::string_view text) {
  ImageArgument argument;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), argument.disk);
  const auto rest = text.substr(static_cast<std::size_t>(end - text.data()));
  if (error != std::errc() || argument.disk >= kMaxDisks || rest.size() < 2 || rest.front() != '=')
    return fail("'" + std::string(text) + "': expected N=FILE, the disk's number and its image");
  argument.image = rest.substr(1);
  return argument;
}

Result<std::vector<block::Disk>> open_restored_disks(const snapshot::Snapshot& snapshot,
                                                     const CloneDisks& options) {
  auto records = decode_disk_records(snapshot);
  if (!records) return fail(records.error());
  for (const auto& [index, image] : options.images) {
    if (index >= records->size())
      return fail(disk_name(index) + ": the snapshot has " + std::to_string(records->size()) +
                  " disks");
  }
  std::vector<block::Disk> disks;
  std::size_t file = 0;
  for (std::size_t index = 0; index < records->size(); ++index) {
    const DiskRecord& record = (*records)[index];
    auto disk = open_restored_disk(record, options, index);
    if (!disk) return fail(disk.error(), disk_name(index));
    if (record.has_layer) {
      if (auto added = add_snapshots_layer(snapshot, file++, *disk); !added)
        return fail(added.error(), disk_name(index));
    }
    disks.push_back(std::move(*disk));
  }
  return disks;
}

Status add_own_layers(std::vector<block::Disk>& disks, const CloneDisks& options) {
  for (std::size_t index = 0; index < disks.size(); ++index) {
    block::Disk& disk = disks[index];
    if (disk.read_only() || (options.move && disk.in_place())) continue;
    // Nobody else has what a moved machine wrote.
    const bool keep = options.keep_layers || options.move;
    auto layer = make_layer(disk, index, keep);
    if (!layer) return fail(layer.error(), disk_name(index));
    if (keep) disk.drop_layers();
    if (auto added = disk.add(std::move(*layer)); !added)
      return fail(added.error(), disk_name(index));
  }
  return {};
}

}  // namespace clonesafe::cli
