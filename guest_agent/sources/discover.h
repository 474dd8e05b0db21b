#ifndef CLONESAFE_GUEST_AGENT_SOURCES_DISCOVER_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_DISCOVER_H_

#include <memory>
#include <string>
#include <vector>

#include "guest_agent/sources/seed_page.h"
#include "guest_agent/sources/source.h"

namespace clonesafe::agent {

// Where the machine shows its sources; the defaults are Linux's. An empty path leaves the source
// out.
struct SourcePaths {
  std::string memory = "/dev/mem";
  std::string iomem = "/proc/iomem";
  std::string acpi_tables = "/sys/firmware/acpi/tables";
  std::string vmclock_device = "/dev/vmclock0";
  std::string kmsg = "/dev/kmsg";
  // Present where the kernel's vmgenid driver is bound, so that its log line can be counted on.
  std::string vmgenid_drivers = "/sys/bus";
  // A file of 8 KiB laid out as restore page and seed page: for tests, and for VMMs that can write
  // a file into the guest but have no such device.
  std::string restore_file;
};

struct Discovery {
  SourceSet sources;
  std::unique_ptr<SeedPage> seed;  // null without one
  std::vector<SourceReport> reports;
};

// Looks for every source and opens those that are there. Nothing is fatal: what is missing is in
// the reports.
Discovery discover_sources(const SourcePaths& paths);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_DISCOVER_H_
