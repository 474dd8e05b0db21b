#ifndef CLONESAFE_VMM_DEVICE_BLOCK_COMMIT_H_
#define CLONESAFE_VMM_DEVICE_BLOCK_COMMIT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::block {

struct CommitRequest {
  std::string layer;
  std::string image;  // that the layer lies over
  // A new image with both, which must not exist; none: the layer is written into the image.
  std::optional<std::string> out = {};
  // Called at each step; its error is the step's.
  std::function<Status(const char* step)> stop_for_testing = {};
};

struct Committed {
  std::uint64_t clusters = 0;  // that the layer had
  std::uint64_t capacity = 0;
};

// Merges a layer into its image, or both into a new one. The layer's file stays.
//
// Into the image: the layer is marked first. A commit that was interrupted leaves an image that is
// neither of the two, over which only this layer may be laid, by another commit; that one finishes
// it. A new image gets its name once it is whole.
Result<Committed> commit(const CommitRequest& request);

}  // namespace clonesafe::block

#endif  // CLONESAFE_VMM_DEVICE_BLOCK_COMMIT_H_
