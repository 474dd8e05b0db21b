// Bytes with the stamp of before they were made, and steps that belong together.
#include <algorithm>
#include <cstring>

#include "clonesafe/values.h"
#include "libclonesafe/core/seams.h"
#include "libclonesafe/core/stream.h"

namespace {

constexpr int kTries = 8;

bool is_stale(const cs_stamp& stamp) {
  return (cs_changed(&stamp) & (CS_CHANGED_GENERATION | CS_CHANGED_FORK)) != 0;
}

}  // namespace

int cs_begin(struct cs_stamp* stamp) {
  return cs_generation(stamp);
}

int cs_commit(const struct cs_stamp* since) {
  if (since == nullptr) return CS_E_INVALID;
  return is_stale(*since) ? CS_E_STALE : 0;
}

int cs_tagged_random(struct cs_tagged* tagged, size_t size) {
  if (tagged == nullptr) return CS_E_INVALID;
  std::memset(tagged, 0, sizeof(*tagged));
  if (size == 0 || size > CS_TAGGED_MAX) return CS_E_INVALID;
  int result = CS_E_UNSTABLE;
  for (int i = 0; i < kTries; ++i) {
    result = cs_generation(&tagged->stamp);
    if (result == 0) result = cs_random(tagged->bytes, size);
    if (result != 0) break;
    clonesafe::core::stop_at(clonesafe::core::StopPoint::kAfterBuild);
    tagged->size = static_cast<std::uint32_t>(size);
    if (!is_stale(tagged->stamp)) return 0;
    result = CS_E_UNSTABLE;
  }
  clonesafe::core::wipe(tagged, sizeof(*tagged));
  return result;
}

int cs_tagged_set(struct cs_tagged* tagged, const struct cs_stamp* since, const void* bytes,
                  size_t size) {
  if (tagged == nullptr) return CS_E_INVALID;
  std::memset(tagged, 0, sizeof(*tagged));
  if (since == nullptr || bytes == nullptr || size == 0 || size > CS_TAGGED_MAX)
    return CS_E_INVALID;
  if (is_stale(*since)) return CS_E_STALE;
  tagged->stamp = *since;
  tagged->size = static_cast<std::uint32_t>(size);
  std::memcpy(tagged->bytes, bytes, size);
  return 0;
}

int cs_tagged_use(const struct cs_tagged* tagged, void* buffer, size_t size) {
  if (buffer == nullptr) return CS_E_INVALID;
  int result = CS_E_INVALID;
  if (tagged != nullptr && size != 0 && size == tagged->size && size <= CS_TAGGED_MAX) {
    std::memcpy(buffer, tagged->bytes, size);
    clonesafe::core::stop_at(clonesafe::core::StopPoint::kAfterCopy);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    result = is_stale(tagged->stamp) ? CS_E_STALE : 0;
  }
  // No buffer that this was meant for is larger.
  if (result != 0) clonesafe::core::wipe(buffer, std::min<size_t>(size, CS_TAGGED_MAX));
  return result;
}
