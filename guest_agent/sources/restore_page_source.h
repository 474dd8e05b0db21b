#ifndef CLONESAFE_GUEST_AGENT_SOURCES_RESTORE_PAGE_SOURCE_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_RESTORE_PAGE_SOURCE_H_

#include <span>
#include <string>

#include "guest_agent/sources/seed_page.h"
#include "guest_agent/sources/source.h"
#include "libclonesafe/base/mapping.h"
#include "libclonesafe/physical/iomem.h"

namespace clonesafe::agent {

// One consistent reading of a restore page (docs/formats/restore-page.md). Any bytes are safe: what
// isn't a restore page of this version is an error, and a sequence that stays odd or keeps moving
// is one after a bounded number of tries.
Result<RestoreWords> read_restore_page(std::span<const std::byte> page);

// The restore page, through /dev/mem or a file with the same 8 KiB (tests, VMMs without the
// device).
class RestorePageSource : public Source {
 public:
  struct Opened {
    std::unique_ptr<RestorePageSource> source;
    std::unique_ptr<SeedPage> seed;  // null: this VMM gives none, or it can't be mapped
    std::string note;                // why there is no seed, or that it can't be zeroed
  };
  // `range` is the device's 8 KiB resource. The seed page is mapped writable where that is allowed.
  static Result<Opened> open(const std::string& memory_device, const PhysicalRange& range);
  static Result<Opened> open_file(const std::string& path);

  RestorePageSource(Mapping mapping, bool is_file)
      : mapping_(std::move(mapping)), is_file_(is_file) {}
  std::string_view name() const override { return "restore_page"; }
  Status read(Words& words) override;
  bool must_be_polled() const override { return is_file_; }

 private:
  Mapping mapping_;
  bool is_file_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_RESTORE_PAGE_SOURCE_H_
