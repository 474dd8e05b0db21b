#include "proxy/wire/http1/error_response.h"

#include <algorithm>
#include <string_view>

#include "proxy/wire/http1/characters.h"

namespace clonesafe::wire::http1 {
namespace {

// The first is what others are sent as.
constexpr std::string_view kStatuses[] = {
    "502 Bad Gateway",        "400 Bad Request",
    "408 Request Timeout",    "413 Content Too Large",
    "417 Expectation Failed", "421 Misdirected Request",
    "425 Too Early",          "431 Request Header Fields Too Large",
    "501 Not Implemented",    "503 Service Unavailable",
    "504 Gateway Timeout",    "505 HTTP Version Not Supported",
};

}  // namespace

void append_error_response(std::string& out, const ErrorResponse& response) {
  const std::string number = std::to_string(response.status) + " ";
  const auto* const found = std::ranges::find_if(
      kStatuses, [&](std::string_view status) { return status.starts_with(number); });
  const std::string_view status = found == std::end(kStatuses) ? kStatuses[0] : *found;
  out.append("HTTP/1.1 ").append(status).append(kLineEnd);
  out.append("Content-Type: text/plain\r\nContent-Length: ")
      .append(std::to_string(status.size() + 1))
      .append(kLineEnd);
  if (response.retry_after)
    out.append("Retry-After: ").append(std::to_string(*response.retry_after)).append(kLineEnd);
  out.append("Cache-Control: no-store\r\nConnection: close\r\n\r\n");
  if (response.method != Method::kHead) out.append(status).append("\n");
}

}  // namespace clonesafe::wire::http1
