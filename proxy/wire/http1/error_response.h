#ifndef CLONESAFE_PROXY_WIRE_HTTP1_ERROR_RESPONSE_H_
#define CLONESAFE_PROXY_WIRE_HTTP1_ERROR_RESPONSE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "proxy/wire/http1/method.h"

namespace clonesafe::wire::http1 {

struct ErrorResponse {
  std::uint16_t status = 502;
  // Of the request that it answers: to HEAD no content is sent. Nothing if it couldn't be read.
  std::optional<Method> method;
  // In seconds, for 503.
  std::optional<std::uint32_t> retry_after;
};

// Appends a whole response of the proxy's own, after which the connection ends (Connection: close).
// Statuses without a name of their own here are sent as 502 Bad Gateway.
void append_error_response(std::string& out, const ErrorResponse& response);

}  // namespace clonesafe::wire::http1

#endif  // CLONESAFE_PROXY_WIRE_HTTP1_ERROR_RESPONSE_H_
