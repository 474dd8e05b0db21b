// memory.img: checked chunk by chunk, from the very bytes that are then used.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

namespace {

// Where the next byte that is not in a hole may be, at or after `offset`; `end` if there is none. A
// file system that knows no holes says that all is data.
std::uint64_t next_data(int fd, std::uint64_t offset, std::uint64_t end) {
  const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (data >= 0) return static_cast<std::uint64_t>(data);
  return errno == ENXIO ? end : offset;
}

// Reads and checks all of memory.img; what is not zero goes to `destination` (if it is not -1) at
// the same offset.
Status check_memory(int directory, const std::string& name, std::uint64_t memory_size,
                    std::span<const std::byte> digests, int destination, const Progress& progress) {
  auto file = open_file(directory, kMemoryFile, name);
  if (!file) return fail(std::move(file).error());
  auto size = file_size(file->get(), name);
  if (!size) return fail(std::move(size).error());
  if (*size != memory_size)
    return fail(name + ": " + std::to_string(*size) + " bytes, the state file says " +
                std::to_string(memory_size));

  auto hash = Sha256::create();
  if (!hash) return fail(std::move(hash).error());
  auto zero_digests = ZeroDigests::create(*hash);
  if (!zero_digests) return fail(std::move(zero_digests).error());

  std::vector<std::byte> buffer(format::kChunkSize);
  std::uint64_t data = 0;
  for (std::uint64_t offset = 0, chunk = 0; offset < memory_size;
       offset += format::kChunkSize, ++chunk) {
    const auto bytes = std::span(buffer).first(static_cast<std::size_t>(
        std::min<std::uint64_t>(format::kChunkSize, memory_size - offset)));
    if (data < offset + bytes.size()) data = next_data(file->get(), offset, memory_size);
    bool zero = data >= offset + bytes.size();  // all of it in a hole
    if (!zero) {
      if (auto status = read_exactly(file->get(), bytes, offset, name); !status) return status;
      zero = all_zero(bytes);
    }
    auto digest = zero ? zero_digests->of(*hash, bytes.size()) : hash->of(bytes);
    if (!digest) return fail(std::move(digest).error());
    if (std::memcmp(digest->data(), digests.data() + chunk * sizeof(Digest), sizeof(Digest)) != 0)
      return fail(name + ": checksum mismatch in chunk " + std::to_string(chunk) + ", offset " +
                  std::to_string(offset));
    if (!zero && destination >= 0) {
      auto written = write_nonzero_pages(destination, bytes, offset, "memfd of the guest's memory");
      if (!written) return fail(std::move(written).error());
    }
    if (progress) progress(offset + bytes.size(), memory_size);
  }
  return {};
}

}  // namespace

Result<UniqueFd> Snapshot::import_memory(const Progress& progress) const {
  UniqueFd memory(::memfd_create("clonesafe-guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return fail_errno("memfd_create for the guest's memory");
  if (::ftruncate(memory.get(), static_cast<off_t>(header_.memory_size)) != 0)
    return fail_errno("guest memory of " + std::to_string(header_.memory_size) + " bytes");
  auto directory = open_directory(directory_);
  if (!directory) return fail(std::move(directory).error());
  if (auto status = check_memory(directory->get(), (directory_ / kMemoryFile).string(),
                                 header_.memory_size, chunk_digests_, memory.get(), progress);
      !status)
    return fail(std::move(status).error());
  if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
    return fail_errno("sealing the guest's memory");
  return memory;
}

Status Snapshot::verify_memory(const Progress& progress) const {
  auto directory = open_directory(directory_);
  if (!directory) return fail(std::move(directory).error());
  return check_memory(directory->get(), (directory_ / kMemoryFile).string(), header_.memory_size,
                      chunk_digests_, -1, progress);
}

}  // namespace clonesafe::snapshot
