#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "vmm_device/snapshot/attached.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/encode.h"
#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/partial_directory.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

namespace {

Status reached(const WriteRequest& request, const char* step) {
  return request.stop_for_testing ? request.stop_for_testing(step) : Status();
}

struct MemoryWritten {
  std::vector<std::byte> chunk_digests;
  std::uint64_t data_size = 0;
};

// One pass over memory: what is hashed is what is written.
Result<MemoryWritten> write_memory(const MemoryImage& image, PartialDirectory& directory,
                                   const WriteRequest& request) {
  auto file = directory.create_file(kMemoryFile);
  if (!file) return fail(std::move(file).error());
  if (auto go_on = reached(request, "memory made"); !go_on) return fail(std::move(go_on).error());
  if (::ftruncate(file->get(), static_cast<off_t>(image.size())) != 0)
    return fail_errno(std::string(kMemoryFile) + " of " + std::to_string(image.size()) + " bytes");
  auto hash = Sha256::create();
  if (!hash) return fail(std::move(hash).error());
  auto zero_digests = ZeroDigests::create(*hash);
  if (!zero_digests) return fail(std::move(zero_digests).error());

  MemoryWritten result;
  std::vector<std::byte> buffer(format::kChunkSize);
  for (std::uint64_t offset = 0; offset < image.size(); offset += format::kChunkSize) {
    const auto bytes = std::span(buffer).first(static_cast<std::size_t>(
        std::min<std::uint64_t>(format::kChunkSize, image.size() - offset)));
    const bool present = image.has_any(offset, bytes.size());
    if (present) image.copy(offset, bytes);
    const bool zero = !present || all_zero(bytes);
    auto digest = zero ? zero_digests->of(*hash, bytes.size()) : hash->of(bytes);
    if (!digest) return fail(std::move(digest).error());
    result.chunk_digests.insert(result.chunk_digests.end(), digest->begin(), digest->end());
    if (!zero) {
      auto written = write_nonzero_pages(file->get(), bytes, offset, kMemoryFile);
      if (!written) return fail(std::move(written).error());
      result.data_size += *written;
    }
    if (auto go_on = reached(request, "chunk written"); !go_on)
      return fail(std::move(go_on).error());
    if (request.progress) request.progress(offset + bytes.size(), image.size());
    if (request.stop.stop_requested()) return fail("given up");
  }
  if (::fsync(file->get()) != 0) return fail_errno(std::string(kMemoryFile) + ": fsync");
  if (auto go_on = reached(request, "memory synced"); !go_on) return fail(std::move(go_on).error());
  return result;
}

Result<std::vector<AttachedFile>> write_files(PartialDirectory& directory,
                                              const WriteRequest& request) {
  std::vector<AttachedFile> attached;
  for (const FileToWrite& file : request.files) {
    auto fd = directory.create_file(file.name.c_str());
    if (!fd) return fail(std::move(fd).error());
    if (auto go_on = reached(request, "attached file made"); !go_on)
      return fail(std::move(go_on).error());
    auto written = write_attached(fd->get(), file);
    if (!written) return fail(std::move(written).error());
    if (::fsync(fd->get()) != 0) return fail_errno(file.name + ": fsync");
    attached.push_back(std::move(*written));
    if (auto go_on = reached(request, "attached file synced"); !go_on)
      return fail(std::move(go_on).error());
  }
  return attached;
}

Status write_state(std::span<const std::byte> state, PartialDirectory& directory,
                   const WriteRequest& request) {
  auto file = directory.create_file(kStateFile);
  if (!file) return fail(std::move(file).error());
  if (auto status = write_exactly(file->get(), state, 0, kStateFile); !status) return status;
  if (auto go_on = reached(request, "state written"); !go_on) return go_on;
  if (::fsync(file->get()) != 0) return fail_errno(std::string(kStateFile) + ": fsync");
  return reached(request, "state synced");
}

Result<Written> write_checked(const std::filesystem::path& dir, const WriteRequest& request) {
  for (const FileToWrite& file : request.files) {
    if (auto valid = check_attached_name(file.name); !valid) return fail(std::move(valid).error());
  }
  auto image = MemoryImage::create(request);
  if (!image) return fail(std::move(image).error());
  auto directory = PartialDirectory::create(dir, request.folder);
  if (!directory) return fail(std::move(directory).error());
  if (auto go_on = reached(request, "directory made"); !go_on)
    return fail(std::move(go_on).error());
  auto memory = write_memory(*image, *directory, request);
  if (!memory) return fail(std::move(memory).error());
  auto attached = write_files(*directory, request);
  if (!attached) return fail(std::move(attached).error());
  auto state =
      encode_state(request, *image, *attached, std::move(memory->chunk_digests), Kept::in_files);
  if (!state) return fail(std::move(state).error());
  // What a reader would refuse must not be written: the source may be gone when that comes out.
  auto check = parse_state(*state, kStateFile);
  if (!check) return fail(std::move(check).error());
  if (auto status = write_state(*state, *directory, request); !status)
    return fail(std::move(status).error());
  if (auto status = directory->commit([&] { return reached(request, "renamed"); }); !status)
    return fail(std::move(status).error());
  const auto& changed = image->changed();
  return Written{.id = check->header().id,
                 .digest = check->digest(),
                 .memory_size = image->size(),
                 .data_size = memory->data_size,
                 .state_size = state->size(),
                 .pages = changed ? changed->count() : image->size() / format::kPageSize};
}

}  // namespace

Result<Written> write(const std::filesystem::path& dir, const WriteRequest& request) {
  // "out/" means "out".
  const auto target = dir.has_filename() ? dir : dir.parent_path();
  auto written = write_checked(target, request);
  if (!written) return fail(std::move(written).error(), "snapshot " + dir.string());
  return written;
}

}  // namespace clonesafe::snapshot
