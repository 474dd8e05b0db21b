#include "guest_agent/sources/kmsg_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace clonesafe::agent {

std::optional<std::uint64_t> vm_fork_notice(std::string_view record) {
  // Documentation/ABI/testing/dev-kmsg: "priority,sequence,timestamp,flags[,...];message\n".
  const std::size_t semicolon = record.find(';');
  if (semicolon == std::string_view::npos) return std::nullopt;
  std::string_view message = record.substr(semicolon + 1);
  message = message.substr(0, message.find('\n'));
  if (message != "random: crng reseeded due to virtual machine fork") return std::nullopt;

  const char* const end = record.data() + semicolon;
  std::uint64_t priority = 0;
  auto parsed = std::from_chars(record.data(), end, priority);
  if (parsed.ec != std::errc() || parsed.ptr == end || *parsed.ptr != ',') return std::nullopt;
  constexpr std::uint64_t kFacilityShift = 3;
  if (priority >> kFacilityShift != 0) return std::nullopt;
  std::uint64_t sequence = 0;
  parsed = std::from_chars(parsed.ptr + 1, end, sequence);
  if (parsed.ec != std::errc() || parsed.ptr == end || *parsed.ptr != ',') return std::nullopt;
  return sequence;
}

Result<std::unique_ptr<Source>> KmsgSource::open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail_errno("open of " + path);
  auto source = std::make_unique<KmsgSource>();
  source->fd_ = std::move(fd);
  return source;
}

Status KmsgSource::read(Words& words) {
  char record[8192];  // the kernel's records are smaller
  for (;;) {
    const ssize_t size = ::read(fd_.get(), record, sizeof(record));
    if (size > 0) {
      if (const auto sequence = vm_fork_notice({record, static_cast<std::size_t>(size)})) {
        newest_ = *sequence + 1;
      }
      continue;
    }
    if (size == 0) break;
    // EPIPE: records were overwritten before they were read; the next read goes on at the oldest.
    if (errno == EINTR || errno == EPIPE) continue;
    if (errno == EAGAIN) break;
    return fail_errno("read of the kernel log");
  }
  words.kernel_notice = newest_;
  return {};
}

}  // namespace clonesafe::agent
