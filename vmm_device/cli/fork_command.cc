#include "vmm_device/cli/fork_command.h"

#include <boost/json.hpp>

#include "vmm_device/machine/api_server.h"
#include "vmm_device/snapshot/image.h"

namespace clonesafe::cli {
namespace {

Result<supervisor::Taken> take(const ForkOptions& options) {
  ApiFiles files;
  const auto reply =
      call_api(options.api,
               {{"call", "fork"}, {"prepare", options.prepare}, {"count", options.restore.count}},
               {.received = &files});
  if (!reply) return fail(reply.error());
  if (files.size() < 2)
    return fail("control socket " + options.api.string() + ": " + std::to_string(files.size()) +
                " descriptors came with the answer, expected 2 and one for each layer of a disk");
  const UniqueFd state = std::move(files[0]);
  UniqueFd memory = std::move(files[1]);
  files.erase(files.begin(), files.begin() + 2);
  auto snapshot = snapshot::read_image(state.get(), memory.get(), std::move(files));
  if (!snapshot) return fail(snapshot.error());
  return supervisor::Taken{.snapshot = std::move(*snapshot), .memory = std::move(memory)};
}

}  // namespace

int fork_command(const ForkOptions& options) {
  return fork_command(options.restore, options.clones, [&] { return take(options); });
}

}  // namespace clonesafe::cli
