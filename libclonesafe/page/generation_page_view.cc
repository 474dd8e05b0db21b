#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe {

const char* describe(PageCondition condition) {
  switch (condition) {
    case PageCondition::kUsable:
      return "usable";
    case PageCondition::kTooSmall:
      return "shorter than 4096 bytes";
    case PageCondition::kBadMagic:
      return "not a generation page (bad magic)";
    case PageCondition::kUnknownVersion:
      return "a generation page of an unknown version";
    case PageCondition::kBadSize:
      return "a generation page whose size field is not 4096";
    case PageCondition::kUnpublished:
      return "a generation page in which nothing was published yet";
    case PageCondition::kUnsettled:
      return "a generation page that changed at every attempt to read it";
  }
  return "in an unknown condition";
}

const char* state_name(std::uint32_t state) {
  switch (state) {
    case CLONESAFE_STATE_REPAIRING:
      return "repairing";
    case CLONESAFE_STATE_SAFE:
      return "safe";
    case CLONESAFE_STATE_DEGRADED:
      return "degraded";
    default:
      return "unknown";
  }
}

const char* tier_name(std::uint32_t tier) {
  switch (tier) {
    case CLONESAFE_TIER_NONE:
      return "none";
    case CLONESAFE_TIER_LAGGING:
      return "lagging";
    case CLONESAFE_TIER_ANNOUNCED:
      return "announced";
    case CLONESAFE_TIER_WORD:
      return "word";
    default:
      return "unknown";
  }
}

}  // namespace clonesafe
