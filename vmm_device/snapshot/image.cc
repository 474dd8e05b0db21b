#include "vmm_device/snapshot/image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "vmm_device/snapshot/attached.h"
#include "vmm_device/snapshot/encode.h"
#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/format.h"

namespace clonesafe::snapshot {

namespace {

constexpr const char* kStateName = "state of the fork";
constexpr const char* kMemoryName = "memory of the fork";

Result<std::uint64_t> copy_memory(const MemoryImage& image, int memory,
                                  const WriteRequest& request) {
  std::uint64_t copied = 0;
  std::vector<std::byte> buffer(format::kChunkSize);
  for (std::uint64_t offset = 0; offset < image.size(); offset += format::kChunkSize) {
    const auto bytes = std::span(buffer).first(static_cast<std::size_t>(
        std::min<std::uint64_t>(format::kChunkSize, image.size() - offset)));
    image.copy(offset, bytes);
    auto written = write_nonzero_pages(memory, bytes, offset, kMemoryName);
    if (!written) return written;
    copied += *written;
    if (request.progress) request.progress(offset + bytes.size(), image.size());
    if (request.stop.stop_requested()) return fail("given up");
  }
  return copied;
}

// What its maker has sealed so can't change or shrink under a reader.
Status check_sealed(int fd, const char* name) {
  constexpr int kNeeded = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return fail_errno(std::string(name) + ": no memfd");
  if ((seals & kNeeded) != kNeeded) return fail(std::string(name) + ": a memfd that is not sealed");
  return {};
}

}  // namespace

Result<Image> capture(const WriteRequest& request) {
  auto memory_image = MemoryImage::create(request);
  if (!memory_image) return fail(std::move(memory_image).error());
  auto memory = make_memory(memory_image->size());
  if (!memory) return fail(std::move(memory).error());
  auto copied = copy_memory(*memory_image, memory->get(), request);
  if (!copied) return fail(std::move(copied).error());
  std::vector<UniqueFd> files;
  std::vector<AttachedFile> attached;
  for (const FileToWrite& file : request.files) {
    if (auto valid = check_attached_name(file.name); !valid) return fail(std::move(valid).error());
    auto fd = make_memory(0);
    if (!fd) return fail(std::move(fd).error());
    auto written = write_attached(fd->get(), file);
    if (!written) return fail(std::move(written).error());
    if (auto status = seal_memory(fd->get()); !status) return fail(std::move(status).error());
    attached.push_back(std::move(*written));
    files.push_back(std::move(*fd));
  }
  auto bytes = encode_state(request, *memory_image, attached, {}, Kept::in_memory);
  if (!bytes) return fail(std::move(bytes).error());
  auto check = parse_state(*bytes, kStateName, Origin::image);
  if (!check) return fail(std::move(check).error());
  auto state = make_memory(bytes->size());
  if (!state) return fail(std::move(state).error());
  if (auto status = write_exactly(state->get(), *bytes, 0, kStateName); !status)
    return fail(std::move(status).error());
  for (const int fd : {state->get(), memory->get()})
    if (auto status = seal_memory(fd); !status) return fail(std::move(status).error());
  return Image{.state = std::move(*state),
               .memory = std::move(*memory),
               .files = std::move(files),
               .digest = check->digest(),
               .memory_size = memory_image->size(),
               .data_size = *copied};
}

Result<Snapshot> read_image(int state, int memory, std::vector<UniqueFd> files) {
  if (auto sealed = check_sealed(state, kStateName); !sealed)
    return fail(std::move(sealed).error());
  if (auto sealed = check_sealed(memory, kMemoryName); !sealed)
    return fail(std::move(sealed).error());
  auto size = file_size(state, kStateName);
  if (!size) return fail(std::move(size).error());
  if (*size > format::kHeaderLength + format::kMaxPayload)
    return fail(std::string(kStateName) + ": over the limit of 64 MiB");
  std::vector<std::byte> bytes(static_cast<std::size_t>(*size));
  if (auto status = read_exactly(state, bytes, 0, kStateName); !status)
    return fail(std::move(status).error());
  auto snapshot = parse_state(std::move(bytes), kStateName, Origin::image);
  if (!snapshot) return snapshot;
  auto memory_size = file_size(memory, kMemoryName);
  if (!memory_size) return fail(std::move(memory_size).error());
  if (*memory_size != snapshot->header().memory_size)
    return fail(std::string(kMemoryName) + ": " + std::to_string(*memory_size) +
                " bytes, its state says " + std::to_string(snapshot->header().memory_size));
  if (files.size() != snapshot->attached_files().size())
    return fail(std::string(kStateName) + ": " + std::to_string(snapshot->attached_files().size()) +
                " attached files, " + std::to_string(files.size()) + " came along");
  for (const UniqueFd& file : files) {
    if (auto sealed = check_sealed(file.get(), "attached file of the fork"); !sealed)
      return fail(std::move(sealed).error());
  }
  snapshot->attached_descriptors_ = std::make_shared<const std::vector<UniqueFd>>(std::move(files));
  return snapshot;
}

}  // namespace clonesafe::snapshot
