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

// What a chunk's bytes, checked, are good for; `zero` if all of them are.
using Sink =
    std::function<Status(std::uint64_t offset, std::span<const std::byte> bytes, bool zero)>;

// Reads and checks all of memory.img.
Status check_memory(int directory, const std::string& name, std::uint64_t memory_size,
                    std::span<const std::byte> digests, const Sink& sink,
                    const Progress& progress) {
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
    if (zero) {
      std::memset(bytes.data(), 0, bytes.size());
    } else {
      if (auto status = read_exactly(file->get(), bytes, offset, name); !status) return status;
      zero = all_zero(bytes);
    }
    auto digest = zero ? zero_digests->of(*hash, bytes.size()) : hash->of(bytes);
    if (!digest) return fail(std::move(digest).error());
    if (std::memcmp(digest->data(), digests.data() + chunk * sizeof(Digest), sizeof(Digest)) != 0)
      return fail(name + ": checksum mismatch in chunk " + std::to_string(chunk) + ", offset " +
                  std::to_string(offset));
    if (auto status = sink(offset, bytes, zero); !status) return status;
    if (progress) progress(offset + bytes.size(), memory_size);
  }
  return {};
}

constexpr const char* kMemfd = "memfd of the guest's memory";

Status keep_page(int memory, std::span<const std::byte> page, std::uint64_t offset) {
  if (!all_zero(page)) return write_exactly(memory, page, offset, kMemfd);
  // What a layer below has there is gone.
  if (::fallocate(memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(page.size())) != 0)
    return fail_errno(std::string(kMemfd) + ", offset " + std::to_string(offset) + ": fallocate");
  return {};
}

// The pages of a chunk that the layer has; others must not be in its file.
Status keep_layer(const PageSet& layer, int memory, std::uint64_t offset,
                  std::span<const std::byte> bytes, const std::string& name) {
  for (; !bytes.empty(); bytes = bytes.subspan(format::kPageSize), offset += format::kPageSize) {
    const auto page = bytes.first(format::kPageSize);
    if (!layer.contains(offset / format::kPageSize)) {
      if (!all_zero(page))
        return fail(name + ": bytes at offset " + std::to_string(offset) +
                    ", in a page that is not of this layer");
      continue;
    }
    if (memory < 0) continue;
    if (auto status = keep_page(memory, page, offset); !status) return status;
  }
  return {};
}

}  // namespace

Result<UniqueFd> make_memory(std::uint64_t size) {
  UniqueFd memory(::memfd_create("clonesafe-guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return fail_errno("memfd_create for the guest's memory");
  if (::ftruncate(memory.get(), static_cast<off_t>(size)) != 0)
    return fail_errno("guest memory of " + std::to_string(size) + " bytes");
  return memory;
}

Status seal_memory(int memory) {
  if (::fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
    return fail_errno("sealing the guest's memory");
  return {};
}

Status Snapshot::lay_over(int memory, const Progress& progress) const {
  const std::string name = (directory_ / kMemoryFile).string();
  auto directory = open_directory(directory_);
  if (!directory) return fail(std::move(directory).error());
  const Sink sink = [&](std::uint64_t offset, std::span<const std::byte> bytes,
                        bool zero) -> Status {
    if (layer_) return keep_layer(*layer_, memory, offset, bytes, name);
    if (zero || memory < 0) return {};
    auto written = write_nonzero_pages(memory, bytes, offset, kMemfd);
    if (!written) return fail(std::move(written).error());
    return {};
  };
  return check_memory(directory->get(), name, header_.memory_size, chunk_digests_, sink, progress);
}

Result<UniqueFd> Snapshot::import_memory(const Progress& progress) const {
  if (layer_) return fail(directory_.string() + ": incremental, it needs its parent");
  auto memory = make_memory(header_.memory_size);
  if (!memory) return memory;
  if (auto status = lay_over(memory->get(), progress); !status)
    return fail(std::move(status).error());
  if (auto status = seal_memory(memory->get()); !status) return fail(std::move(status).error());
  return memory;
}

Status Snapshot::verify_memory(const Progress& progress) const {
  return lay_over(-1, progress);
}

}  // namespace clonesafe::snapshot
