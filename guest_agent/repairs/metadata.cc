#include "guest_agent/repairs/metadata.h"

#include <unistd.h>

#include <cerrno>

#include "guest_agent/base/files.h"

namespace clonesafe::agent {

Status publish_metadata(const std::string& path, std::string_view document) {
  if (path.empty()) return {};
  if (!document.empty()) return replace_file(path, document, 0644);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("unlink of " + path);
  return {};
}

Repair::Finding MetadataRepair::run(const RepairEvent& event) {
  if (path_.empty()) return skipped("not configured");
  const std::string& document = event.restore.metadata;
  if (document.empty() && !event.new_identity()) return skipped("the host gives none");
  if (auto published = publish_metadata(path_, document); !published)
    return failed(published.error().message());
  if (document.empty()) return skipped("the host gives none");
  if (read_file(path_) != document) return failed(path_ + " doesn't hold it");
  return ok(std::to_string(document.size()) + " bytes");
}

}  // namespace clonesafe::agent
