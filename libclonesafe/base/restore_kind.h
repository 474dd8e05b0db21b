#ifndef CLONESAFE_BASE_RESTORE_KIND_H_
#define CLONESAFE_BASE_RESTORE_KIND_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "clonesafe/abi/restore_page.h"

namespace clonesafe {

// Values of enum clonesafe_restore_kind.
enum class RestoreKind : std::uint32_t {
  kBoot = CLONESAFE_RESTORE_BOOT,
  kResume = CLONESAFE_RESTORE_RESUME,
  kClone = CLONESAFE_RESTORE_CLONE,
  kMove = CLONESAFE_RESTORE_MOVE,
};

// "boot", "resume", "clone", "move", as the host protocol and status say it.
constexpr std::string_view name_of(RestoreKind kind) {
  switch (kind) {
    case RestoreKind::kBoot:
      return "boot";
    case RestoreKind::kResume:
      return "resume";
    case RestoreKind::kClone:
      return "clone";
    case RestoreKind::kMove:
      return "move";
  }
  return "unknown";
}

constexpr std::optional<RestoreKind> parse_restore_kind(std::string_view name) {
  for (const RestoreKind kind :
       {RestoreKind::kBoot, RestoreKind::kResume, RestoreKind::kClone, RestoreKind::kMove}) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

}  // namespace clonesafe

#endif  // CLONESAFE_BASE_RESTORE_KIND_H_
