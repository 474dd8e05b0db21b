#ifndef CLONESAFE_GUEST_AGENT_SOURCES_KMSG_SOURCE_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_KMSG_SOURCE_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "guest_agent/sources/source.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {

// The sequence number in one record of /dev/kmsg ("5,1234,98765,-;text") if it is the kernel's own
// line about a VM fork. A line that a program wrote to /dev/kmsg (facility not 0) is not.
std::optional<std::uint64_t> vm_fork_notice(std::string_view record);

// The kernel's log: its vmgenid driver (5.18 and later, if configured) reports a fork there. The
// line's sequence number is the word; a line that was in the ring when the agent started is its
// first value and so no news.
class KmsgSource : public Source {
 public:
  static Result<std::unique_ptr<Source>> open(const std::string& path);

  std::string_view name() const override { return "kmsg"; }
  // Reads whatever the ring holds beyond the last read.
  Status read(Words& words) override;
  int wake_fd() const override { return fd_.get(); }

 private:
  UniqueFd fd_;
  std::uint64_t newest_ = 0;  // sequence number + 1
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_KMSG_SOURCE_H_
