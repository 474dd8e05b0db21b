#ifndef CLONESAFE_PAGE_GENERATION_PAGE_READER_H_
#define CLONESAFE_PAGE_GENERATION_PAGE_READER_H_

#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/mapping.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe {

// A generation page mapped read-only. The mapping stays valid when the agent restarts (it keeps the
// inode) and when the file is replaced or removed, but then it goes stale: see `is_current`.
// Thread-safe: all members are const after `open`. A fork shares the mapping; a clone's page is
// written by the VMM or the agent like everybody's.
class GenerationPageReader {
 public:
  // Refuses anything but a regular file of at least a page that holds a generation page.
  static Result<GenerationPageReader> open(const std::string& path);

  std::uint64_t control() const { return load_generation_control(page()); }
  Result<GenerationSnapshot> read() const;
  // Whether `path` still names the file that is mapped.
  bool is_current() const;

  const clonesafe_generation_page& page() const {
    return *reinterpret_cast<const clonesafe_generation_page*>(mapping_.data());
  }

 private:
  std::string path_;
  Mapping mapping_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace clonesafe

#endif  // CLONESAFE_PAGE_GENERATION_PAGE_READER_H_
