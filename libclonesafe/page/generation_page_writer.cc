#include "libclonesafe/page/generation_page_writer.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace clonesafe {
namespace {

constexpr mode_t kPageMode = 0444;
constexpr mode_t kFolderMode = 0755;

void store_words(void* to, const void* from, std::size_t size) {
  auto* target = static_cast<std::uint64_t*>(to);
  for (std::size_t i = 0; i < size / sizeof(std::uint64_t); ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const std::byte*>(from) + i * sizeof(word), sizeof(word));
    __atomic_store_n(&target[i], word, __ATOMIC_RELAXED);
  }
}

Result<Mapping> map_page(const std::string& path, const UniqueFd& fd) {
  return Mapping::map("generation page " + path, CLONESAFE_GENERATION_PAGE_SIZE,
                      PROT_READ | PROT_WRITE, MAP_SHARED, fd.get());
}

Status make_parent_folder(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return {};
  const std::string folder = path.substr(0, slash);
  if (::mkdir(folder.c_str(), kFolderMode) == 0) {
    // The umask must not keep the page's readers out.
    if (::chmod(folder.c_str(), kFolderMode) != 0) return fail_errno("chmod of " + folder);
    return {};
  }
  if (errno != EEXIST) return fail_errno("mkdir of " + folder);
  return {};
}

}  // namespace

std::uint64_t fill_generation_slot(clonesafe_generation_page& page, std::uint64_t base,
                                   const clonesafe_generation_slot& slot) {
  const unsigned index = CLONESAFE_GENERATION_SLOT_OF(base) == 0 ? 1 : 0;
  // A reader that sees a word of this fill must also see that the control word no longer names this
  // slot, so the store of `base` comes before the fill.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  store_words(&page.slots[index], &slot, sizeof(slot));
  return CLONESAFE_GENERATION_NEXT(base, index);
}

bool publish_generation(clonesafe_generation_page& page, std::uint64_t base, std::uint64_t next) {
  std::uint64_t expected = base;
  return __atomic_compare_exchange_n(&page.control, &expected, next, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE);
}

Result<GenerationPageWriter> GenerationPageWriter::open(const std::string& path,
                                                        const clonesafe_generation_slot& first) {
  if (auto made = make_parent_folder(path); !made) return fail(std::move(made.error()));
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (!fd && errno != ENOENT) return fail_errno("open of generation page " + path);
  if (!fd) return create(path, first);
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("fstat of generation page " + path);
  if (!S_ISREG(status.st_mode)) return fail("generation page " + path + " is not a regular file");
  if (status.st_uid != ::geteuid()) {
    return fail("generation page " + path + " belongs to user " + std::to_string(status.st_uid));
  }
  if (status.st_size < static_cast<off_t>(CLONESAFE_GENERATION_PAGE_SIZE)) {
    return create(path, first);
  }
  auto writer = adopt(path, std::move(fd));
  if (!writer) return writer;
  if (!writer->read()) return create(path, first);
  return writer;
}

Result<GenerationPageWriter> GenerationPageWriter::adopt(const std::string& path, UniqueFd fd) {
  if (::fchmod(fd.get(), kPageMode) != 0) return fail_errno("fchmod of generation page " + path);
  auto mapping = map_page(path, fd);
  if (!mapping) return fail(std::move(mapping.error()));
  GenerationPageWriter writer;
  writer.path_ = path;
  writer.fd_ = std::move(fd);
  writer.mapping_ = std::move(*mapping);
  return writer;
}

Result<GenerationPageWriter> GenerationPageWriter::create(const std::string& path,
                                                          const clonesafe_generation_slot& first) {
  const std::string unfinished = path + ".new";
  if (::unlink(unfinished.c_str()) != 0 && errno != ENOENT) {
    return fail_errno("unlink of " + unfinished);
  }
  UniqueFd fd(::open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return fail_errno("creation of " + unfinished);
  // posix_fallocate: a full tmpfs refuses here, instead of by SIGBUS at the first store.
  if (const int error = ::posix_fallocate(fd.get(), 0, CLONESAFE_GENERATION_PAGE_SIZE);
      error != 0) {
    ::unlink(unfinished.c_str());
    return fail_errno("allocation of " + unfinished, error);
  }
  auto writer = adopt(path, std::move(fd));
  if (!writer) {
    ::unlink(unfinished.c_str());
    return writer;
  }
  clonesafe_generation_page& page = writer->page();
  page.version = CLONESAFE_GENERATION_PAGE_VERSION;
  page.size = CLONESAFE_GENERATION_PAGE_SIZE;
  publish_generation(page, 0, fill_generation_slot(page, 0, first));
  __atomic_store_n(&page.magic, CLONESAFE_GENERATION_PAGE_MAGIC, __ATOMIC_RELEASE);
  if (::rename(unfinished.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(unfinished.c_str());
    return fail_errno("rename of " + unfinished + " to " + path, error);
  }
  writer->created_ = true;
  return writer;
}

Result<GenerationSnapshot> GenerationPageWriter::read() const {
  GenerationSnapshot snapshot;
  if (const PageCondition condition = read_generation_page(page(), snapshot);
      condition != PageCondition::kUsable) {
    return fail(path_ + " is " + describe(condition));
  }
  return snapshot;
}

std::optional<std::uint64_t> GenerationPageWriter::commit(std::uint64_t base,
                                                          const clonesafe_generation_slot& slot) {
  // Without this look the fill could hit the slot in force: the one that `base` does not name.
  if (control() != base) return std::nullopt;
  const std::uint64_t next = fill_generation_slot(page(), base, slot);
  if (!publish_generation(page(), base, next)) return std::nullopt;
  return next;
}

void GenerationPageWriter::set_nonce(
    std::span<const std::uint8_t, CLONESAFE_GENERATION_NONCE_SIZE> nonce) {
  store_words(page().nonce, nonce.data(), nonce.size());
}

}  // namespace clonesafe
