#ifndef CLONESAFE_VMM_DEVICE_NET_NAMESPACE_H_
#define CLONESAFE_VMM_DEVICE_NET_NAMESPACE_H_

#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::network {

// Puts the calling thread into a network namespace for a scope. What is opened meanwhile belongs
// there for good.
class InNamespace {
 public:
  // By the name that `ip netns add` gave it; empty: stays where it is.
  static Result<InNamespace> enter(const std::string& name);
  InNamespace(InNamespace&&) noexcept = default;
  InNamespace& operator=(InNamespace&&) = delete;
  // Goes back. A thread that can't must not go on in the wrong one: the process ends.
  ~InNamespace();

 private:
  explicit InNamespace(UniqueFd before) : before_(std::move(before)) {}
  UniqueFd before_;
};

}  // namespace clonesafe::network

#endif  // CLONESAFE_VMM_DEVICE_NET_NAMESPACE_H_
