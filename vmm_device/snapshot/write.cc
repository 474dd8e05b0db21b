#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <optional>

#include "vmm_device/core/state_codec.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

namespace {

// The directory while it is being written, under another name. Unless it was committed, its end
// takes it and its files away.
class PartialDirectory {
 public:
  static Result<PartialDirectory> create(const std::filesystem::path& dir) {
    PartialDirectory partial;
    partial.name_ = dir.filename().string();
    auto parent = open_directory(dir.has_parent_path() ? dir.parent_path() : ".");
    if (!parent) return fail(std::move(parent).error());
    partial.parent_ = std::move(*parent);
    // Looked at again by the rename; here it saves writing gigabytes for nothing.
    if (::faccessat(partial.parent_.get(), partial.name_.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
      return fail("already exists");
    std::array<unsigned char, 8> random = {};
    if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
      return fail_errno("getrandom");
    partial.partial_name_ = partial.name_ + ".partial-";
    for (unsigned char byte : random) {
      partial.partial_name_ += "0123456789abcdef"[byte >> 4];
      partial.partial_name_ += "0123456789abcdef"[byte & 15];
    }
    if (::mkdirat(partial.parent_.get(), partial.partial_name_.c_str(), 0700) != 0)
      return fail_errno("making " + partial.partial_name_);
    partial.present_name_ = partial.partial_name_;
    partial.directory_ = UniqueFd(::openat(partial.parent_.get(), partial.partial_name_.c_str(),
                                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!partial.directory_) return fail_errno("opening " + partial.partial_name_);
    return partial;
  }

  PartialDirectory(PartialDirectory&& other) noexcept
      : parent_(std::move(other.parent_)),
        directory_(std::move(other.directory_)),
        name_(std::move(other.name_)),
        partial_name_(std::move(other.partial_name_)),
        present_name_(std::exchange(other.present_name_, {})) {}
  PartialDirectory& operator=(PartialDirectory&&) = delete;
  ~PartialDirectory() {
    if (present_name_.empty()) return;
    for (const char* file : {kStateFile, kMemoryFile}) ::unlinkat(directory_.get(), file, 0);
    ::unlinkat(parent_.get(), present_name_.c_str(), AT_REMOVEDIR);
  }

  Result<UniqueFd> create_file(const char* file) {
    UniqueFd fd(::openat(directory_.get(), file,
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return fail_errno(std::string("making ") + file);
    return fd;
  }

  // Everything in it must be on the disk already, then it gets its name, then that is on the disk
  // too: a crash at any time leaves the whole snapshot or none by this name.
  Status commit() {
    if (::fsync(directory_.get()) != 0) return fail_errno("fsync");
    if (::renameat2(parent_.get(), partial_name_.c_str(), parent_.get(), name_.c_str(),
                    RENAME_NOREPLACE) != 0) {
      if (errno == EEXIST) return fail("already exists");
      return fail_errno("rename of " + partial_name_);
    }
    present_name_ = name_;
    if (::fsync(parent_.get()) != 0) return fail_errno("fsync of the directory above");
    present_name_.clear();
    return {};
  }

 private:
  PartialDirectory() = default;
  UniqueFd parent_;
  UniqueFd directory_;
  std::string name_;          // the snapshot's own
  std::string partial_name_;  // until it is whole
  std::string present_name_;  // what the end of this object must remove; empty: nothing
};

// The regions of guest memory laid end to end, as they are in memory.img.
class MemoryImage {
 public:
  static Result<MemoryImage> create(const WriteRequest& request) {
    MemoryImage image;
    std::uint64_t guest_end = 0;
    const auto& regions = request.memory.regions();
    if (regions.empty() || regions.size() > format::kMaxRegions)
      return fail("guest memory of " + std::to_string(regions.size()) + " regions");
    for (const GuestMemory::Region& region : regions) {
      const std::uint64_t start = region.start.value();
      const std::uint64_t size = region.bytes.size();
      if (start % format::kPageSize != 0 || size % format::kPageSize != 0 || size == 0 ||
          start < guest_end || size > UINT64_MAX - start)
        return fail("guest memory's regions are not whole pages in order");
      image.regions_.push_back({region, image.size_});
      image.size_ += size;
      guest_end = start + size;
    }
    if (request.changed != nullptr) {
      if (request.changed->pages() != image.size_ / format::kPageSize)
        return fail("the set of changed pages is not of this memory");
      if (request.parent == Digest{}) return fail("an incremental snapshot needs a parent");
      image.changed_ = *request.changed;
    }
    for (const ZeroRange& range : request.zero_ranges) {
      auto offset = image.offset_of(range);
      if (!offset) return fail(std::move(offset).error());
      image.zeros_.push_back({*offset, *offset + range.size});
      // The parent may have been written before the range was a secret.
      if (image.changed_ && range.size != 0)
        for (std::uint64_t page = *offset / format::kPageSize;
             page <= (*offset + range.size - 1) / format::kPageSize; ++page)
          image.changed_->insert(page);
    }
    return image;
  }

  std::uint64_t size() const { return size_; }
  const std::optional<PageSet>& changed() const { return changed_; }
  bool has_any(std::uint64_t offset, std::uint64_t size) const {
    return !changed_ ||
           changed_->contains_any(offset / format::kPageSize, size / format::kPageSize);
  }

  // Copies what the snapshot shall hold at `offset`: the guest's bytes; zeros where asked for, and
  // in pages that an incremental one doesn't have.
  void copy(std::uint64_t offset, std::span<std::byte> to) const {
    const std::uint64_t end = offset + to.size();
    const auto overlap = [&](std::uint64_t first, std::uint64_t last, auto use) {
      first = std::max(first, offset);
      last = std::min(last, end);
      if (first < last)
        use(first, to.subspan(static_cast<std::size_t>(first - offset),
                              static_cast<std::size_t>(last - first)));
    };
    for (const Placed& placed : regions_)
      overlap(placed.offset, placed.offset + placed.region.bytes.size(),
              [&](std::uint64_t first, std::span<std::byte> part) {
                std::memcpy(part.data(), placed.region.bytes.data() + (first - placed.offset),
                            part.size());
              });
    for (const auto& [first, last] : zeros_)
      overlap(first, last, [](std::uint64_t, std::span<std::byte> part) {
        std::memset(part.data(), 0, part.size());
      });
    if (!changed_) return;
    for (std::uint64_t at = 0; at < to.size(); at += format::kPageSize)
      if (!changed_->contains((offset + at) / format::kPageSize))
        std::memset(to.data() + at, 0, format::kPageSize);
  }

  Section memory_map() const {
    StateEncoder encoder;
    encoder.put(static_cast<std::uint32_t>(regions_.size()));
    for (const Placed& placed : regions_) {
      encoder.put(placed.region.start.value());
      encoder.put(std::uint64_t{placed.region.bytes.size()});
      encoder.put(placed.offset);
    }
    return {.tag = Tag::memory_map, .version = format::kMemoryMapVersion, .bytes = encoder.take()};
  }

 private:
  struct Placed {
    GuestMemory::Region region;
    std::uint64_t offset;
  };
  struct Range {
    std::uint64_t first;
    std::uint64_t last;
  };

  Result<std::uint64_t> offset_of(const ZeroRange& range) const {
    for (const Placed& placed : regions_) {
      if (range.start < placed.region.start) continue;
      const std::uint64_t offset = range.start.value() - placed.region.start.value();
      if (offset < placed.region.bytes.size() && range.size <= placed.region.bytes.size() - offset)
        return placed.offset + offset;
    }
    // Never written without it: the range may be a secret.
    return fail("the range to be zeroed \"" + range.name + "\" is not in guest memory");
  }

  std::vector<Placed> regions_;
  std::vector<Range> zeros_;
  std::uint64_t size_ = 0;
  std::optional<PageSet> changed_;
};

struct MemoryWritten {
  std::vector<std::byte> chunk_digests;
  std::uint64_t data_size = 0;
};

// One pass over memory: what is hashed is what is written.
Result<MemoryWritten> write_memory(const MemoryImage& image, PartialDirectory& directory,
                                   const Progress& progress) {
  auto file = directory.create_file(kMemoryFile);
  if (!file) return fail(std::move(file).error());
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
    if (progress) progress(offset + bytes.size(), image.size());
  }
  if (::fsync(file->get()) != 0) return fail_errno(std::string(kMemoryFile) + ": fsync");
  return result;
}

void append(std::vector<std::byte>& payload, const Section& section) {
  const format::SectionHeader header{
      .tag = static_cast<std::uint32_t>(section.tag),
      .version = section.version,
      .flags = section.critical ? format::kSectionCritical : std::uint16_t{0},
      .length = section.bytes.size()};
  const auto raw = std::as_bytes(std::span(&header, 1));
  payload.insert(payload.end(), raw.begin(), raw.end());
  payload.insert(payload.end(), section.bytes.begin(), section.bytes.end());
}

Result<std::vector<std::byte>> encode_state(const WriteRequest& request, const MemoryImage& image,
                                            std::vector<std::byte> chunk_digests) {
  auto table_digest = sha256(chunk_digests);
  if (!table_digest) return fail(std::move(table_digest).error());
  std::vector<std::byte> payload;
  append(payload, image.memory_map());
  for (const Section& section : request.sections) {
    if (section.tag == Tag::memory_map || section.tag == Tag::chunk_digests ||
        section.tag == Tag::layer)
      return fail("memory map, chunk digests and layer are not the caller's to give");
    append(payload, section);
  }
  append(payload, {.tag = Tag::chunk_digests,
                   .version = format::kChunkDigestsVersion,
                   .bytes = std::move(chunk_digests)});
  if (const auto& changed = image.changed())
    append(payload, {.tag = Tag::layer,
                     .version = format::kLayerVersion,
                     .bytes = {changed->bytes().begin(), changed->bytes().end()}});
  auto payload_digest = sha256(payload);
  if (!payload_digest) return fail(std::move(payload_digest).error());

  format::Header header = {};
  header.magic = format::kMagic;
  header.major = format::kMajor;
  header.minor = image.changed() ? format::kMinorLayer : format::kMinorWhole;
  header.header_length = format::kHeaderLength;
  header.architecture = format::kArchitectureX86_64;
  header.flags = request.agent_connected ? format::kFlagAgentConnected : 0;
  timespec now = {};
  if (::clock_gettime(CLOCK_REALTIME, &now) != 0) return fail_errno("clock_gettime");
  header.created_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
                      static_cast<std::uint64_t>(now.tv_nsec);
  header.memory_size = image.size();
  header.page_shift = format::kPageShift;
  header.chunk_size = format::kChunkSize;
  header.payload_length = payload.size();
  std::ranges::copy(*payload_digest, header.payload_digest);
  std::ranges::copy(*table_digest, header.chunk_table_digest);
  if (::getrandom(header.id, sizeof header.id, 0) != sizeof header.id)
    return fail_errno("getrandom");
  std::ranges::copy(request.parent, header.parent);
  const auto raw = std::as_bytes(std::span(&header, 1));
  auto digest = sha256(raw.first(offsetof(format::Header, header_digest)));
  if (!digest) return fail(std::move(digest).error());
  std::ranges::copy(*digest, header.header_digest);
  std::vector<std::byte> state(raw.begin(), raw.end());
  state.insert(state.end(), payload.begin(), payload.end());
  return state;
}

Status write_state(std::span<const std::byte> state, PartialDirectory& directory) {
  auto file = directory.create_file(kStateFile);
  if (!file) return fail(std::move(file).error());
  if (auto status = write_exactly(file->get(), state, 0, kStateFile); !status) return status;
  if (::fsync(file->get()) != 0) return fail_errno(std::string(kStateFile) + ": fsync");
  return {};
}

Result<Written> write_checked(const std::filesystem::path& dir, const WriteRequest& request) {
  auto image = MemoryImage::create(request);
  if (!image) return fail(std::move(image).error());
  auto directory = PartialDirectory::create(dir);
  if (!directory) return fail(std::move(directory).error());
  auto memory = write_memory(*image, *directory, request.progress);
  if (!memory) return fail(std::move(memory).error());
  auto state = encode_state(request, *image, std::move(memory->chunk_digests));
  if (!state) return fail(std::move(state).error());
  // What a reader would refuse must not be written: the source may be gone when that comes out.
  auto check = parse_state(*state, kStateFile);
  if (!check) return fail(std::move(check).error());
  if (auto status = write_state(*state, *directory); !status)
    return fail(std::move(status).error());
  if (auto status = directory->commit(); !status) return fail(std::move(status).error());
  return Written{
      .id = check->header().id,
      .digest = check->digest(),
      .memory_size = image->size(),
      .data_size = memory->data_size,
      .state_size = state->size(),
      .pages = image->changed() ? image->changed()->count() : image->size() / format::kPageSize};
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
