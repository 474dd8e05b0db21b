#include "guest_agent/repairs/machine_id.h"

#include <sys/stat.h>

#include "guest_agent/base/files.h"
#include "guest_agent/repairs/fresh_id.h"

namespace clonesafe::agent {
namespace {

enum class Kind { kAbsent, kFile, kLink };

Kind kind_of(const std::string& path) {
  struct stat status = {};
  if (path.empty() || ::lstat(path.c_str(), &status) != 0) return Kind::kAbsent;
  return S_ISLNK(status.st_mode) ? Kind::kLink : Kind::kFile;
}

Status replace(const std::string& path, const std::string& id) {
  constexpr mode_t kMode = 0444;
  if (auto written = replace_file(path, id + "\n", kMode); !written) return written;
  const auto back = read_file(path);
  if (!back) return fail(back.error());
  if (trim(*back) != id) return fail(path + " doesn't show the new id");
  return {};
}

}  // namespace

Repair::Finding MachineIdRepair::run(const RepairEvent& event) {
  if (!event.new_identity()) return skipped("this restore keeps the machine's identity");
  if (kind_of(path_) == Kind::kAbsent) {
    return skipped(path_.empty() ? "not configured" : "there is no " + path_);
  }
  auto bytes = fresh_id(kernel_, event, "clonesafe machine id v1");
  if (!bytes) return failed(bytes.error().message());
  // As systemd makes them: a version 4 UUID without dashes.
  std::string id = uuid4_text(*bytes);
  std::erase(id, '-');
  if (auto replaced = replace(path_, id); !replaced) return failed(replaced.error().message());
  // A link follows by itself.
  if (kind_of(dbus_path_) == Kind::kFile) {
    if (auto replaced = replace(dbus_path_, id); !replaced) {
      return failed(replaced.error().message());
    }
  }
  return ok();
}

}  // namespace clonesafe::agent
