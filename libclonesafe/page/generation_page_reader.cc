#include "libclonesafe/page/generation_page_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe {

Result<GenerationPageReader> GenerationPageReader::open(const std::string& path) {
  // O_NONBLOCK: a FIFO in the page's place must not hang its readers.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return fail_errno("open of generation page " + path);
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("fstat of generation page " + path);
  if (!S_ISREG(status.st_mode)) return fail("generation page " + path + " is not a regular file");
  if (status.st_size < static_cast<off_t>(CLONESAFE_GENERATION_PAGE_SIZE)) {
    return fail("generation page " + path + " is " + describe(PageCondition::kTooSmall));
  }
  auto mapping = Mapping::map("generation page " + path, CLONESAFE_GENERATION_PAGE_SIZE, PROT_READ,
                              MAP_SHARED, fd.get());
  if (!mapping) return fail(std::move(mapping.error()));
  GenerationPageReader reader;
  reader.path_ = path;
  reader.mapping_ = std::move(*mapping);
  reader.device_ = status.st_dev;
  reader.inode_ = status.st_ino;
  if (const PageCondition condition = check_generation_page(reader.page());
      condition != PageCondition::kUsable) {
    return fail(path + " is " + describe(condition));
  }
  return reader;
}

Result<GenerationSnapshot> GenerationPageReader::read() const {
  GenerationSnapshot snapshot;
  if (const PageCondition condition = read_generation_page(page(), snapshot);
      condition != PageCondition::kUsable) {
    return fail(path_ + " is " + describe(condition));
  }
  return snapshot;
}

bool GenerationPageReader::is_current() const {
  struct stat status = {};
  return ::stat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
}

}  // namespace clonesafe
