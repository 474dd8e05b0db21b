#include "guest_agent/sources/discover.h"

#include <filesystem>
#include <utility>

#include "clonesafe/abi/restore_page.h"
#include "clonesafe/abi/vmclock.h"
#include "guest_agent/base/files.h"
#include "guest_agent/sources/devices.h"
#include "guest_agent/sources/kmsg_source.h"
#include "guest_agent/sources/restore_page_source.h"
#include "guest_agent/sources/vmclock_source.h"
#include "guest_agent/sources/vmgenid_source.h"

namespace clonesafe::agent {
namespace {

class Search {
 public:
  explicit Search(const SourcePaths& paths) : paths_(paths) {}

  Discovery run() {
    // Best first: status and reports list them in this order.
    add_restore_page();
    add("vmclock", open_vmclock());
    add("vmgenid", open_vmgenid());
    if (!paths_.vmclock_device.empty()) {
      add("vmclock_device", VmclockDeviceSource::open(paths_.vmclock_device),
          paths_.vmclock_device);
    }
    if (!paths_.kmsg.empty()) add_kmsg();
    return std::move(discovery_);
  }

 private:
  void report(std::string name, bool present, bool wakes, std::string detail) {
    discovery_.reports.push_back(
        {.name = std::move(name), .present = present, .wakes = wakes, .detail = std::move(detail)});
  }

  void add(std::string name, Result<std::unique_ptr<Source>> source, std::string where = {}) {
    if (!source) return report(std::move(name), false, false, source.error().message());
    const bool wakes = (*source)->wake_fd() >= 0;
    report(std::move(name), true, wakes, where.empty() ? where_ : std::move(where));
    discovery_.sources.add(std::move(*source));
  }

  Result<PhysicalRange> device(std::string_view hid) {
    const auto text = read_file(paths_.iomem);
    if (!text) return fail(text.error());
    auto range = find_device(*text, hid);
    if (!range) return fail(std::move(range.error()), paths_.iomem);
    where_ = paths_.memory + " at 0x" + hex(range->start);
    return range;
  }

  void add_restore_page() {
    const bool file = !paths_.restore_file.empty();
    const auto range = file ? Result<PhysicalRange>() : device(CLONESAFE_RESTORE_PAGE_HID);
    if (!range) return report("restore_page", false, false, range.error().message());
    auto opened = file ? RestorePageSource::open_file(paths_.restore_file)
                       : RestorePageSource::open(paths_.memory, *range);
    if (!opened) return report("restore_page", false, false, opened.error().message());
    std::string detail = file ? paths_.restore_file : where_;
    if (!opened->note.empty()) detail += "; " + opened->note;
    report("restore_page", true, false, std::move(detail));
    discovery_.sources.add(std::move(opened->source));
    discovery_.seed = std::move(opened->seed);
  }

  Result<std::unique_ptr<Source>> open_vmclock() {
    const auto range = device(CLONESAFE_VMCLOCK_HID);
    if (!range) return fail(range.error());
    return VmclockSource::open(paths_.memory, *range);
  }

  Result<std::unique_ptr<Source>> open_vmgenid() {
    const auto location = find_vmgenid_in_tables(paths_.acpi_tables);
    if (!location) return fail(location.error());
    where_ = paths_.memory + " at 0x" + hex(location->address) + " (" +
             std::string(location->shape) + ")";
    return VmgenidSource::open(paths_.memory, *location);
  }

  // The line comes only from a bound vmgenid driver; without one the log can't be waited for.
  bool kernel_has_vmgenid() const {
    for (const char* const bus : {"/acpi/drivers/vmgenid", "/platform/drivers/vmgenid"}) {
      std::error_code error;
      for (std::filesystem::directory_iterator entry(paths_.vmgenid_drivers + bus, error), end;
           !error && entry != end; entry.increment(error)) {
        if (entry->is_symlink(error) && entry->path().filename() != "module") return true;
      }
    }
    return false;
  }

  void add_kmsg() {
    if (!kernel_has_vmgenid()) {
      return report("kmsg", false, false, "the kernel has no vmgenid driver bound");
    }
    add("kmsg", KmsgSource::open(paths_.kmsg), paths_.kmsg);
  }

  const SourcePaths& paths_;
  std::string where_;  // of the device that was found last
  Discovery discovery_;
};

}  // namespace

Discovery discover_sources(const SourcePaths& paths) {
  return Search(paths).run();
}

}  // namespace clonesafe::agent
