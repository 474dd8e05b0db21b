#ifndef CLONESAFE_GUEST_AGENT_REPAIRS_METADATA_H_
#define CLONESAFE_GUEST_AGENT_REPAIRS_METADATA_H_

#include <string>
#include <string_view>

#include "guest_agent/repairs/repair.h"

namespace clonesafe::agent {

// The operator's document for this machine in a file that every program may read. A clone has its
// own, or none: its parent's says who the parent is.
class MetadataRepair : public Repair {
 public:
  // An empty path leaves documents alone.
  explicit MetadataRepair(std::string path) : path_(std::move(path)) {}

  std::string_view name() const override { return "metadata"; }
  Stage stage() const override { return Stage::kDocument; }
  Finding run(const RepairEvent& event) override;

 private:
  std::string path_;
};

// Puts `document` in place of what `path` holds, which is nothing any more if it is empty.
Status publish_metadata(const std::string& path, std::string_view document);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_REPAIRS_METADATA_H_
