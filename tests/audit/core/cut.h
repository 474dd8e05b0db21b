// The cut: what each probe had drawn when the machine was paused, read from the snapshot's own
// memory.
#ifndef CLONESAFE_TESTS_AUDIT_CORE_CUT_H_
#define CLONESAFE_TESTS_AUDIT_CORE_CUT_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::audit {

struct Cut {
  std::uint64_t started = 0;
  std::uint64_t completed = 0;

  bool operator==(const Cut&) const = default;
};

using Cuts = std::map<std::string, Cut>;  // by the probe's name

// Finds every log's header in a memory image: clonevm's memory.img, or the file that QEMU migrated
// to (whose pages are not aligned). Two headers of one name that disagree are an error: the cut has
// to be certain.
Result<Cuts> find_cuts(std::span<const std::byte> memory);
Result<Cuts> find_cuts(const std::filesystem::path& memory_image);

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_CORE_CUT_H_
