#include "vmm_device/cli/disks.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace clonesafe::cli {
namespace {

using block::Lock;

// Layers grow as large as their disk, so not where files are kept in memory.
std::filesystem::path temporary_directory() {
  const char* named = ::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): nothing sets it
  return named != nullptr && *named != '\0' ? named : "/var/tmp";
}

Result<block::Layer> open_layer(const DiskArgument& argument, const block::ImageIdentity& base) {
  if (argument.layer == DiskArgument::Layer::kTemporary) {
    auto fd = unnamed_file(temporary_directory());
    if (!fd) return fail(fd.error());
    return block::Layer::create(std::move(*fd), "temporary layer of " + argument.image.string(),
                                base);
  }
  const std::string& name = argument.layer_file.native();
  UniqueFd made(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (made) return block::Layer::create(std::move(made), name, base);
  if (errno != EEXIST) return fail_errno(name);
  return block::Layer::open(name, Lock::kExclusive);
}

Result<block::Disk> open_disk(const DiskArgument& argument, const std::string& path) {
  const bool in_place = !argument.read_only && argument.layer == DiskArgument::Layer::kNone;
  auto image = block::DiskImage::open(path, in_place ? Lock::kExclusive : Lock::kShared);
  if (!image) return fail(image.error());
  auto identity = image->identity();
  if (!identity) return fail(identity.error());
  block::Disk disk(std::move(*image), argument.read_only);
  if (argument.layer == DiskArgument::Layer::kNone) return disk;
  auto layer = open_layer(argument, *identity);
  if (!layer) return fail(layer.error());
  if (auto added = disk.add(std::move(*layer)); !added) return fail(added.error());
  return disk;
}

}  // namespace

Result<std::string> absolute_path(const std::filesystem::path& file) {
  std::error_code error;
  const auto path = std::filesystem::absolute(file, error);
  if (error) return fail(file.string() + ": " + error.message());
  return path.lexically_normal().string();
}

Result<UniqueFd> unnamed_file(const std::filesystem::path& directory) {
  UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600));
  if (fd) return fd;
  if (errno != EOPNOTSUPP && errno != EISDIR) return fail_errno(directory.string());
  // A file system without unnamed files: with a name for a moment.
  std::string name = (directory / "clonevm.XXXXXX").string();
  fd.reset(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) return fail_errno(name);
  if (::unlink(name.c_str()) != 0) return fail_errno(name);
  return fd;
}

Result<std::vector<block::Disk>> open_disks(std::span<const DiskArgument> arguments,
                                            std::vector<DiskConfig>& configs) {
  std::vector<block::Disk> disks;
  for (std::size_t index = 0; index < arguments.size(); ++index) {
    const std::string name = "disk " + std::to_string(index);
    // A snapshot names it so, wherever it is restored from.
    auto path = absolute_path(arguments[index].image);
    if (!path) return fail(path.error(), name);
    auto disk = open_disk(arguments[index], *path);
    if (!disk) return fail(disk.error(), name);
    disks.push_back(std::move(*disk));
    configs.push_back({.serial = arguments[index].serial});
  }
  return disks;
}

}  // namespace clonesafe::cli
