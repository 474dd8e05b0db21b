// Private to the proxy and its process that runs commands.
#ifndef CLONESAFE_PROXY_SECRETS_REQUEST_H_
#define CLONESAFE_PROXY_SECRETS_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::proxy {

// On `answer` comes "ok SIZE\n" and so many bytes, or a line that says what went wrong; then its
// end. Whoever asked closes its own end if it needs no answer any more.
struct CommandRequest {
  std::uint32_t command = 0;
  UniqueFd answer;
};

inline constexpr std::string_view kAnswered = "ok ";
inline constexpr std::size_t kMaxAnswerLine = 256;
inline constexpr std::size_t kMaxCommandOutput = 1 << 20;

// Doesn't wait: where too many wait already it is an error.
Status send_request(int socket, std::uint32_t command, int answer);
// Nothing: there won't be any more. One that is malformed names no command.
std::optional<CommandRequest> receive_request(int socket);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SECRETS_REQUEST_H_
