#include "vmm_device/block/layer.h"

#include <unistd.h>

#include <algorithm>

namespace clonesafe::block {
namespace {

constexpr std::uint64_t kMapPage = 4096;

iovec buffer_over(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

Result<PageSet> read_map(const BackingFile& file, const LayerShape& shape) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(shape.map_size));
  const iovec buffer{bytes.data(), bytes.size()};
  if (auto read = file.read({&buffer, 1}, format::kHeaderLength); !read)
    return fail(std::move(read).error());
  const unsigned used = shape.clusters % 8;
  if (used != 0 && std::to_integer<unsigned>(bytes.back()) >> used != 0)
    return fail(file.name() + ": layer with clusters behind the end of its disk");
  return PageSet(shape.clusters, bytes);
}

}  // namespace

Layer::Layer(BackingFile file, const ParsedLayer& parsed, PageSet map)
    : file_(std::move(file)),
      base_(parsed.base),
      being_committed_(parsed.being_committed),
      shape_(layer_shape(parsed.base.size)),
      map_(std::move(map)) {}

Result<Layer> Layer::create(UniqueFd fd, const std::string& name, const ImageIdentity& base) {
  if (auto possible = check_layer_capacity(base.size, name); !possible)
    return fail(std::move(possible).error());
  auto header = make_layer_header(base);
  if (!header) return fail(std::move(header).error());
  const LayerShape shape = layer_shape(base.size);
  if (::ftruncate(fd.get(), static_cast<off_t>(shape.file_size)) != 0)
    return fail_errno(name + ": layer of " + std::to_string(shape.file_size) + " bytes");
  auto file = BackingFile::adopt(std::move(fd), name, Lock::kExclusive);
  if (!file) return fail(std::move(file).error());
  const iovec buffer = buffer_over(std::as_bytes(std::span(&*header, 1)));
  if (auto written = file->write({&buffer, 1}, 0); !written)
    return fail(std::move(written).error());
  return Layer(std::move(*file), {.base = base}, PageSet(shape.clusters));
}

Result<Layer> Layer::open(const std::string& path, Lock lock) {
  auto file = BackingFile::open(path, lock);
  if (!file) return fail(std::move(file).error());
  return open_file(std::move(*file));
}

Result<Layer> Layer::adopt(UniqueFd fd, const std::string& name, Lock lock) {
  auto file = BackingFile::adopt(std::move(fd), name, lock);
  if (!file) return fail(std::move(file).error());
  return open_file(std::move(*file));
}

Result<Layer> Layer::open_file(BackingFile file) {
  if (file.size() < format::kHeaderLength)
    return fail(file.name() + ": no layer: shorter than a header");
  std::vector<std::byte> bytes(format::kHeaderLength);
  const iovec buffer = buffer_over(bytes);
  if (auto read = file.read({&buffer, 1}, 0); !read) return fail(std::move(read).error());
  auto parsed = parse_layer_header(bytes, file.name());
  if (!parsed) return fail(std::move(parsed).error());
  const LayerShape shape = layer_shape(parsed->base.size);
  if (file.is_device() || file.size() != shape.file_size)
    return fail(file.name() + ": layer of " + std::to_string(file.size()) + " bytes, not " +
                std::to_string(shape.file_size));
  auto map = read_map(file, shape);
  if (!map) return fail(std::move(map).error());
  return Layer(std::move(file), *parsed, std::move(*map));
}

Status Layer::read(std::span<const iovec> buffers, std::uint64_t offset) const {
  return file_.read(buffers, shape_.data_offset + offset);
}

Status Layer::write(std::span<const iovec> buffers, std::uint64_t offset) {
  if (auto written = file_.write(buffers, shape_.data_offset + offset); !written) return written;
  const std::uint64_t end = offset + total_size(buffers);
  const std::uint64_t first = offset / kClusterSize;
  mark(first, (end + kClusterSize - 1) / kClusterSize - first);
  return {};
}

Status Layer::zero(std::uint64_t first, std::uint64_t count) {
  // Also where it has nothing yet: what a crash left there was never in the map.
  if (auto punched = file_.punch(shape_.data_offset + first * kClusterSize, count * kClusterSize);
      !punched)
    return punched;
  mark(first, count);
  return {};
}

void Layer::mark(std::uint64_t first, std::uint64_t count) {
  for (std::uint64_t cluster = first; cluster < first + count; ++cluster) {
    if (map_.contains(cluster)) continue;
    map_.insert(cluster);
    changed_map_pages_.insert(cluster / 8 / kMapPage);
  }
}

Status Layer::mark_committing() {
  const std::uint64_t mark = format::kCommitMark;
  const iovec buffer = buffer_over(std::as_bytes(std::span(&mark, 1)));
  if (auto written = file_.write({&buffer, 1}, offsetof(format::LayerHeader, commit_mark));
      !written)
    return written;
  being_committed_ = true;
  return file_.sync();
}

Status Layer::flush() {
  // Data before the map that says it is there.
  if (auto synced = file_.sync(); !synced) return synced;
  if (auto go_on = reached("data synced"); !go_on) return go_on;
  if (changed_map_pages_.empty()) return {};
  const std::span<const std::byte> map = map_.bytes();
  for (const std::uint64_t page : changed_map_pages_) {
    const auto at = static_cast<std::size_t>(page * kMapPage);
    const iovec buffer =
        buffer_over(map.subspan(at, std::min<std::size_t>(kMapPage, map.size() - at)));
    if (auto written = file_.write({&buffer, 1}, format::kHeaderLength + at); !written)
      return written;
    if (auto go_on = reached("map page written"); !go_on) return go_on;
  }
  if (auto synced = file_.sync(); !synced) return synced;
  changed_map_pages_.clear();
  return {};
}

}  // namespace clonesafe::block
