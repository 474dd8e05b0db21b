#ifndef CLONESAFE_GUEST_AGENT_CTL_FOR_HOST_H_
#define CLONESAFE_GUEST_AGENT_CTL_FOR_HOST_H_

namespace clonesafe::ctl {

// `clonesafectl --vsock PATH ...`: a host of any VMM as the other end of the agent's protocol
// (docs/hosts.md). The option comes first: what follows are other commands than a guest's.
bool is_for_host(int argc, const char* const* argv);
int run_for_host(int argc, const char* const* argv);

}  // namespace clonesafe::ctl

#endif  // CLONESAFE_GUEST_AGENT_CTL_FOR_HOST_H_
