#include "guest_agent/sources/restore_page_source.h"

#include <cstring>
#include <filesystem>

#include "guest_agent/sources/physical_memory.h"

namespace clonesafe::agent {
namespace {

// As relaxed words: the VMM may have written in between.
void copy_words(std::span<const std::byte> from, void* to, std::size_t size) {
  const auto* source = reinterpret_cast<const std::uint64_t*>(from.data());
  for (std::size_t i = 0; i < size / sizeof(std::uint64_t); ++i) {
    const std::uint64_t word = __atomic_load_n(&source[i], __ATOMIC_RELAXED);
    std::memcpy(static_cast<std::byte*>(to) + i * sizeof(word), &word, sizeof(word));
  }
}

}  // namespace

Result<RestoreWords> read_restore_page(std::span<const std::byte> page) {
  if (page.size() < CLONESAFE_RESTORE_PAGE_SIZE) return fail("the restore page is cut short");
  const auto& live = *reinterpret_cast<const clonesafe_restore_page*>(page.data());
  if (live.magic != CLONESAFE_RESTORE_PAGE_MAGIC) return fail("the restore page has no magic");
  if (live.version != CLONESAFE_RESTORE_PAGE_VERSION) {
    return fail("the restore page has the unknown version " + std::to_string(live.version));
  }
  if (live.size != CLONESAFE_RESTORE_PAGE_SIZE) {
    return fail("the restore page gives its size as " + std::to_string(live.size));
  }

  constexpr std::size_t kHeadSize = offsetof(clonesafe_restore_page, reserved1);
  constexpr std::size_t kMetadataAt = offsetof(clonesafe_restore_page, metadata);
  constexpr int kTries = 64;
  for (int i = 0; i < kTries; ++i) {
    const std::uint32_t before = __atomic_load_n(&live.sequence, __ATOMIC_ACQUIRE);
    clonesafe_restore_page copy;
    copy_words(page, &copy, kHeadSize);
    copy_words(page.subspan(kMetadataAt), copy.metadata, sizeof(copy.metadata));
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const std::uint32_t after = __atomic_load_n(&live.sequence, __ATOMIC_RELAXED);
    if (before != after || before % 2 != 0) continue;

    if (copy.kind < CLONESAFE_RESTORE_BOOT || copy.kind > CLONESAFE_RESTORE_MOVE) {
      return fail("the restore page has the unknown kind " + std::to_string(copy.kind));
    }
    if (copy.metadata_size > sizeof(copy.metadata)) {
      return fail("the restore page gives the size of its metadata as " +
                  std::to_string(copy.metadata_size));
    }
    RestoreWords words = {.kind = static_cast<RestoreKind>(copy.kind),
                          .generation = copy.generation,
                          .reseed_epoch = copy.reseed_epoch,
                          .host_realtime_ns = copy.host_realtime_ns,
                          .tsc = copy.tsc,
                          .tsc_khz = copy.tsc_khz};
    std::memcpy(words.restore_id.data(), copy.restore_id, words.restore_id.size());
    std::memcpy(words.vm_generation_id.data(), copy.vm_generation_id,
                words.vm_generation_id.size());
    words.metadata.assign(reinterpret_cast<const char*>(copy.metadata), copy.metadata_size);
    if (words.generation == 0 || words.reseed_epoch == 0 || is_zero(words.restore_id)) {
      return fail("the restore page has a zero generation, reseed epoch or restore id");
    }
    return words;
  }
  return fail("the restore page's sequence doesn't settle");
}

Result<RestorePageSource::Opened> RestorePageSource::open(const std::string& memory_device,
                                                          const PhysicalRange& range) {
  auto page = map_physical(memory_device, range.start, CLONESAFE_RESTORE_PAGE_SIZE, Access::kRead);
  if (!page) return fail(std::move(page.error()));
  if (auto words = read_restore_page(page->bytes()); !words) return fail(std::move(words.error()));
  const std::uint64_t seed_address =
      reinterpret_cast<const clonesafe_restore_page*>(page->data())->seed_page_address;
  Opened opened;
  opened.source = std::make_unique<RestorePageSource>(std::move(*page), false);

  if (seed_address == 0) {
    opened.note = "this VMM gives no seed";
    return opened;
  }
  // Only where the resource says: the page's own word must not make the agent write elsewhere.
  const std::uint64_t expected = range.start + CLONESAFE_RESTORE_PAGE_SIZE;
  if (range.size < 2 * std::uint64_t{CLONESAFE_RESTORE_PAGE_SIZE} || seed_address != expected) {
    opened.note = "the seed page at 0x" + hex(seed_address) + " is outside the device's resource";
    return opened;
  }
  auto seed =
      map_physical(memory_device, expected, sizeof(clonesafe_seed_page), Access::kReadWrite);
  const bool writable = seed.has_value();
  if (!writable) {
    opened.note = "the seed page can't be zeroed: " + seed.error().message();
    seed = map_physical(memory_device, expected, sizeof(clonesafe_seed_page), Access::kRead);
    if (!seed) return opened;
  }
  opened.seed = std::make_unique<SeedPage>(std::move(*seed), writable);
  return opened;
}

Result<RestorePageSource::Opened> RestorePageSource::open_file(const std::string& path) {
  constexpr std::uint64_t kSize = CLONESAFE_RESTORE_PAGE_SIZE + sizeof(clonesafe_seed_page);
  // A page beyond the end of the file would be a SIGBUS at its first reading.
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return fail(path + ": " + error.message());
  if (size != kSize) return fail(path + " is not of " + std::to_string(kSize) + " bytes");
  auto opened = open(path, {.start = 0, .size = kSize});
  if (opened) opened->source->is_file_ = true;
  return opened;
}

Status RestorePageSource::read(Words& words) {
  auto read = read_restore_page(mapping_.bytes());
  if (!read) return fail(std::move(read.error()));
  words.restore_page = *read;
  return {};
}

}  // namespace clonesafe::agent
