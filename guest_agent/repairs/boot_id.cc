#include "guest_agent/repairs/boot_id.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest_agent/base/files.h"
#include "guest_agent/repairs/fresh_id.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {
namespace {

// In one write and in place: the inode is what is mounted, and its readers see the old id or the
// new one.
Status rewrite(const std::string& path, const std::string& contents) {
  constexpr mode_t kMode = 0444;
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kMode));
  if (!fd) return fail_errno("open of " + path);
  if (::fchmod(fd.get(), kMode) != 0) return fail_errno("chmod of " + path);
  if (::pwrite(fd.get(), contents.data(), contents.size(), 0) !=
      static_cast<ssize_t>(contents.size())) {
    return fail_errno("write to " + path);
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(contents.size())) != 0) {
    return fail_errno("truncation of " + path);
  }
  return {};
}

}  // namespace

Repair::Finding BootIdRepair::run(const RepairEvent& event) {
  if (!event.new_identity()) return skipped("this restore keeps the machine's identity");
  if (shown_.empty() || file_.empty()) return skipped("not configured");
  auto bytes = fresh_id(kernel_, event, "clonesafe boot id v1");
  if (!bytes) return failed(bytes.error().message());
  const std::string id = uuid4_text(*bytes);
  const auto shows_it = [this, &id]() -> Result<bool> {
    const auto text = read_file(shown_);
    if (!text) return fail(text.error());
    return trim(*text) == id;
  };

  if (auto made = make_folder_of(file_); !made) return failed(made.error().message());
  if (auto written = rewrite(file_, id + "\n"); !written) return failed(written.error().message());
  auto shown = shows_it();
  if (!shown) return failed(shown.error().message());
  if (!*shown) {
    if (auto mounted = kernel_.bind_mount(file_, shown_); !mounted) {
      return failed(mounted.error().message());
    }
    shown = shows_it();
    if (!shown) return failed(shown.error().message());
    if (!*shown) return failed(shown_ + " doesn't show the new id");
  }
  return ok();
}

}  // namespace clonesafe::agent
