#include "vmm_device/cli/commit_command.h"

#include <cstdio>

#include "vmm_device/block/layer_format.h"
#include "vmm_device/cli/options.h"
#include "vmm_device/supervisor/text.h"

namespace clonesafe::cli {

int commit_command(const block::CommitRequest& request) {
  const auto done = block::commit(request);
  if (!done) return report(done.error());
  std::printf("%s: %s of %s were in the layer\n", request.out.value_or(request.image).c_str(),
              supervisor::human_size(done->clusters * block::format::kClusterSize).c_str(),
              supervisor::human_size(done->capacity).c_str());
  return kExitDone;
}

}  // namespace clonesafe::cli
