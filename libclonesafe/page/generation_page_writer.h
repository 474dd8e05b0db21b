#ifndef CLONESAFE_PAGE_GENERATION_PAGE_WRITER_H_
#define CLONESAFE_PAGE_GENERATION_PAGE_WRITER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/mapping.h"
#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe {

// The two steps of a commit by the agent. Between them a snapshot may be taken, and on its restore
// the VMM writes slot 2 and the control word; then `publish_generation` refuses.
//
// Fills slot 0 or 1, whichever `base` does not name, and returns the control word that would commit
// it. Readers don't look at that slot while `base` is in force.
std::uint64_t fill_generation_slot(clonesafe_generation_page& page, std::uint64_t base,
                                   const clonesafe_generation_slot& slot);
// Replaces `base` by `next` if `base` is still in force.
bool publish_generation(clonesafe_generation_page& page, std::uint64_t base, std::uint64_t next);

// The agent's end of the generation page.
//
// There is one writer in the guest at a time: the caller sees to that (the agent holds a lock of
// its own). The VMM is the second writer, and never runs at the same time as this one.
//
//   do {
//     snapshot = *writer.read();
//     slot = what should be published, given the snapshot;
//   } while (!writer.commit(snapshot.control, slot));
class GenerationPageWriter {
 public:
  // Opens the page at `path`, or makes it with `first` as its published slot. A page that is there
  // is kept with its inode and its contents, because every process in the guest has it mapped and
  // the VMM knows its address; `first` is then not used. A file that is not a generation page is
  // replaced. A new page appears at `path` complete, never half-written. The parent folder is made
  // (0755) if it is missing; the file is 0444 and belongs to the caller.
  static Result<GenerationPageWriter> open(const std::string& path,
                                           const clonesafe_generation_slot& first);

  // Whether `open` made the page, rather than found it.
  bool created() const { return created_; }

  std::uint64_t control() const { return load_generation_control(page()); }
  Result<GenerationSnapshot> read() const;

  // Publishes `slot` in place of what control word `base` names. Returns the new control word, or
  // nothing if the page was overtaken: by the VMM, which restored this guest since `base` was read.
  // The caller reads again and decides anew.
  std::optional<std::uint64_t> commit(std::uint64_t base, const clonesafe_generation_slot& slot);

  // The nonce by which the VMM knows that the registered address is still this page.
  void set_nonce(std::span<const std::uint8_t, CLONESAFE_GENERATION_NONCE_SIZE> nonce);

  // The mapped page, one page long and page-aligned, to be pinned and registered. It stays where it
  // is as long as the writer lives, also when the writer is moved.
  std::span<std::byte> bytes() const { return mapping_.bytes(); }
  int fd() const { return fd_.get(); }

 private:
  static Result<GenerationPageWriter> adopt(const std::string& path, UniqueFd fd);
  static Result<GenerationPageWriter> create(const std::string& path,
                                             const clonesafe_generation_slot& first);

  clonesafe_generation_page& page() const {
    return *reinterpret_cast<clonesafe_generation_page*>(mapping_.data());
  }

  std::string path_;
  UniqueFd fd_;
  Mapping mapping_;
  bool created_ = false;
};

}  // namespace clonesafe

#endif  // CLONESAFE_PAGE_GENERATION_PAGE_WRITER_H_
