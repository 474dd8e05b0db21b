// What `clonevm merge` does and prints.
#include <boost/json.hpp>

#include "vmm_device/snapshot/chain.h"
#include "vmm_device/supervisor/key_option.h"
#include "vmm_device/supervisor/supervisor.h"
#include "vmm_device/supervisor/terminal.h"
#include "vmm_device/supervisor/text.h"

namespace clonesafe::supervisor {

namespace json = boost::json;

namespace {

Result<snapshot::Written> merge(const MergeOptions& options, Terminal& terminal,
                                std::size_t& layers) {
  auto key = read_key(options.key);
  if (!key) return fail(std::move(key).error());
  auto chain = snapshot::open_chain(options.snapshot, options.parents, key->get());
  if (!chain) return fail(std::move(chain).error());
  layers = chain->snapshots().size();
  const auto progress = [&](std::uint64_t done, std::uint64_t total) {
    terminal.progress("checking and merging memory", done, total);
  };
  return snapshot::merge(*chain, options.out, progress, key->get());
}

}  // namespace

int merge_command(const MergeOptions& options, std::FILE* out, std::FILE* err) {
  Terminal terminal(out, err);
  std::size_t layers = 0;
  const auto written = merge(options, terminal, layers);
  if (!written) {
    terminal.error("merge: " + written.error().message());
    return 1;
  }
  const std::uint64_t bytes = written->data_size + written->state_size;
  if (options.json)
    terminal.result(json::serialize(json::object{{"out", options.out.string()},
                                                 {"id", hex(written->id)},
                                                 {"digest", hex(written->digest)},
                                                 {"memory", written->memory_size},
                                                 {"written", bytes},
                                                 {"merged", layers}}));
  else
    terminal.result(options.out.string() + ": " + std::to_string(layers) + " snapshots in one, " +
                    human_size(bytes) + " written");
  return 0;
}

}  // namespace clonesafe::supervisor
