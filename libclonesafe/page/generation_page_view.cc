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

}  // namespace clonesafe
