#include "vmm_device/net/namespace.h"

#include <fcntl.h>
#include <sched.h>

#include <cstdio>
#include <cstdlib>

namespace clonesafe::network {

Result<InNamespace> InNamespace::enter(const std::string& name) {
  if (name.empty()) return InNamespace(UniqueFd());
  // One component of a path, so that a name can't lead elsewhere.
  if (name.find('/') != std::string::npos || name == "." || name == "..")
    return fail("'" + name + "' is not the name of a network namespace");
  const std::string path = "/run/netns/" + name;
  UniqueFd before(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!before) return fail_errno("/proc/thread-self/ns/net");
  const UniqueFd there(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!there) return fail_errno(path);
  if (::setns(there.get(), CLONE_NEWNET) != 0) return fail_errno("enter " + path);
  return InNamespace(std::move(before));
}

InNamespace::~InNamespace() {
  if (!before_ || ::setns(before_.get(), CLONE_NEWNET) == 0) return;
  std::perror("clonevm: back to the network namespace");
  std::abort();
}

}  // namespace clonesafe::network
