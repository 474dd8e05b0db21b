#include "tests/audit/core/cut.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

#include "libclonesafe/base/mapping.h"
#include "libclonesafe/base/unique_fd.h"
#include "tests/audit/probe_log.h"

namespace clonesafe::audit {

Result<Cuts> find_cuts(std::span<const std::byte> memory) {
  Cuts cuts;
  for (std::span<const std::byte> rest = memory; !rest.empty();) {
    const void* found = ::memmem(rest.data(), rest.size(), kProbeLogMagic, sizeof kProbeLogMagic);
    if (found == nullptr) break;
    const auto* at = static_cast<const std::byte*>(found);
    rest = rest.subspan(static_cast<std::size_t>(at - rest.data()));
    if (rest.size() < sizeof(ProbeLogHeader)) break;
    ProbeLogHeader header;
    std::memcpy(&header, at, sizeof header);
    rest = rest.subspan(sizeof kProbeLogMagic);
    // The magic alone is also in the programs' own text.
    if (!is_probe_log(header)) continue;
    const Cut cut{header.started, header.completed};
    const auto [entry, added] = cuts.emplace(header.name, cut);
    if (!added && entry->second != cut) {
      return fail("the memory image holds two logs of probe " + entry->first + " that disagree");
    }
    if (cut.started < cut.completed || cut.started > cut.completed + 1) {
      return fail("the log of probe " + entry->first + " counts " + std::to_string(cut.started) +
                  " started and " + std::to_string(cut.completed) + " completed");
    }
  }
  if (cuts.empty()) return fail("the memory image holds no probe's log");
  return cuts;
}

Result<Cuts> find_cuts(const std::filesystem::path& memory_image) {
  const UniqueFd fd(::open(memory_image.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status{};
  if (!fd || ::fstat(fd.get(), &status) != 0) return fail_errno("opening " + memory_image.string());
  if (status.st_size <= 0) return fail(memory_image.string() + " is empty");
  const auto memory = Mapping::map(memory_image.string(), static_cast<std::size_t>(status.st_size),
                                   PROT_READ, MAP_PRIVATE, fd.get());
  if (!memory) return fail(memory.error());
  auto cuts = find_cuts(std::span<const std::byte>(memory->bytes()));
  if (!cuts) return fail(cuts.error(), memory_image.string());
  return cuts;
}

}  // namespace clonesafe::audit
