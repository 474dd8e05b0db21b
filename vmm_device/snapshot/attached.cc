#include "vmm_device/snapshot/attached.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "vmm_device/core/state_codec.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/format.h"

namespace clonesafe::snapshot {
namespace {

bool valid_name(std::string_view name) {
  const auto part = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (name.empty() || name.size() > format::kMaxAttachedName) return false;
  if (!part(name.front()) || !part(name.back())) return false;
  if (!std::ranges::all_of(name, [&](char c) { return part(c) || c == '.'; })) return false;
  return name != kStateFile && name != kMemoryFile && name != kConsumedStateFile;
}

Result<AttachedFile> parse_one(const SectionView& section, const std::string& where) {
  StateDecoder decoder(where, section.bytes);
  if (section.version != format::kAttachedFileVersion)
    return decoder.corrupt("version " + std::to_string(section.version) + ", expected 1");
  const auto name = decoder.get_bytes(format::kMaxAttachedName);
  if (!name) return fail(name.error());
  AttachedFile file;
  file.name.assign(reinterpret_cast<const char*>(name->data()), name->size());
  if (!valid_name(file.name)) return decoder.corrupt("no name for a file of a snapshot");
  const auto size = decoder.get<std::uint64_t>();
  if (!size) return fail(size.error());
  file.size = *size;
  if (file.size == 0 || file.size % format::kPageSize != 0 || file.size > INT64_MAX)
    return decoder.corrupt(std::to_string(file.size) + " bytes are not whole pages");
  const auto digest = decoder.get_struct<Digest>();
  if (!digest) return fail(digest.error());
  file.digest = *digest;
  if (auto done = decoder.finish(); !done) return fail(done.error());
  return file;
}

using Pages = std::function<Status(std::uint64_t offset, std::span<const std::byte> bytes)>;

// Calls `sink` with each page that is not zeros, in order.
Status each_page(int fd, std::uint64_t size, const std::string& name, const Pages& sink) {
  std::vector<std::byte> buffer(format::kChunkSize);
  for (std::uint64_t offset = 0; offset < size;) {
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // no more
    if (data < 0) return fail_errno(name + ": lseek");
    offset = static_cast<std::uint64_t>(data) / format::kPageSize * format::kPageSize;
    if (offset >= size) break;
    const auto bytes = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size - offset)));
    if (auto read = read_exactly(fd, bytes, offset, name); !read) return read;
    for (std::size_t at = 0; at < bytes.size(); at += format::kPageSize) {
      const auto page = bytes.subspan(at, format::kPageSize);
      if (all_zero(page)) continue;
      if (auto status = sink(offset + at, page); !status) return status;
    }
    offset += bytes.size();
  }
  return {};
}

// SHA-256 of the number and the bytes of each page that is not zeros.
Result<Digest> sparse_digest(int fd, std::uint64_t size, const std::string& name) {
  auto hash = Sha256::create();
  if (!hash) return fail(std::move(hash).error());
  if (auto status = hash->begin(); !status) return fail(std::move(status).error());
  auto read = each_page(fd, size, name, [&](std::uint64_t offset, std::span<const std::byte> page) {
    const std::uint64_t number = offset / format::kPageSize;
    if (auto status = hash->add(std::as_bytes(std::span(&number, 1))); !status) return status;
    return hash->add(page);
  });
  if (!read) return fail(std::move(read).error());
  return hash->end();
}

}  // namespace

Section encode_attached(const AttachedFile& file) {
  StateEncoder encoder;
  encoder.put_bytes(std::as_bytes(std::span(file.name)));
  encoder.put(file.size);
  encoder.put_struct(file.digest);
  return {
      .tag = Tag::attached_file, .version = format::kAttachedFileVersion, .bytes = encoder.take()};
}

Result<std::vector<AttachedFile>> parse_attached(const Snapshot& snapshot,
                                                 const std::string& name) {
  std::vector<AttachedFile> files;
  for (std::size_t index = 0; index < snapshot.count(Tag::attached_file); ++index) {
    const std::string where = name + ", attached file " + std::to_string(index);
    auto file = parse_one(*snapshot.section(Tag::attached_file, index), where);
    if (!file) return fail(std::move(file).error());
    if (std::ranges::find(files, file->name, &AttachedFile::name) != files.end())
      return fail(where + ": its name is there twice");
    files.push_back(std::move(*file));
  }
  return files;
}

Status check_attached_name(const std::string& name) {
  if (!valid_name(name)) return fail("'" + name + "': no name for a file of a snapshot");
  return {};
}

Result<AttachedFile> write_attached(int fd, const FileToWrite& file) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return fail_errno(file.name);
  if (auto written = file.write(std::move(copy)); !written) return fail(std::move(written).error());
  auto size = file_size(fd, file.name);
  if (!size) return fail(std::move(size).error());
  auto digest = sparse_digest(fd, *size, file.name);
  if (!digest) return fail(std::move(digest).error());
  return AttachedFile{.name = file.name, .size = *size, .digest = *digest};
}

Status copy_sparse(int from, int to, std::uint64_t size, const std::string& name) {
  if (::ftruncate(to, static_cast<off_t>(size)) != 0) return fail_errno(name);
  return each_page(from, size, name, [&](std::uint64_t offset, std::span<const std::byte> page) {
    return write_exactly(to, page, offset, name);
  });
}

Result<UniqueFd> Snapshot::open_attached(std::size_t index) const {
  const AttachedFile& file = attached_files_[index];
  UniqueFd fd;
  const std::string name = (directory_ / file.name).string();
  if (attached_descriptors_) {
    fd.reset(::fcntl((*attached_descriptors_)[index].get(), F_DUPFD_CLOEXEC, 3));
    if (!fd) return fail_errno(name);
  } else {
    auto directory = open_directory(directory_);
    if (!directory) return fail(std::move(directory).error());
    auto opened = open_file(directory->get(), file.name.c_str(), name);
    if (!opened) return opened;
    fd = std::move(*opened);
  }
  auto size = file_size(fd.get(), name);
  if (!size) return fail(std::move(size).error());
  if (*size != file.size)
    return fail(name + ": " + std::to_string(*size) + " bytes, its snapshot says " +
                std::to_string(file.size));
  auto digest = sparse_digest(fd.get(), file.size, name);
  if (!digest) return fail(std::move(digest).error());
  if (*digest != file.digest) return fail(name + ": checksum mismatch");
  return fd;
}

Status Snapshot::verify_attached() const {
  for (std::size_t index = 0; index < attached_files_.size(); ++index) {
    if (auto opened = open_attached(index); !opened) return fail(std::move(opened).error());
  }
  return {};
}

}  // namespace clonesafe::snapshot
