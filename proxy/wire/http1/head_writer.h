#ifndef CLONESAFE_PROXY_WIRE_HTTP1_HEAD_WRITER_H_
#define CLONESAFE_PROXY_WIRE_HTTP1_HEAD_WRITER_H_

#include <span>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/http1/message.h"

namespace clonesafe::wire::http1 {

// What differs in a head that is sent on.
struct HeadEdit {
  // Names in any case. Not Content-Length and Transfer-Encoding: the body goes on as it is.
  std::span<const std::string_view> drop;
  // Behind the others. Host only if it is in `drop`.
  std::span<const Field> add;
  // Of a request; empty: as it was.
  std::string_view target;
  // Connection, what it names, and the other fields that are for this connection only (RFC 9110,
  // 7.6.1), Transfer-Encoding excepted.
  bool drop_hop_by_hop = true;
  // Connection: Upgrade and Upgrade stay nevertheless, unless it is h2c that a request offers.
  bool keep_upgrade = false;
};

// RFC 9110, 7.6.1, and what clients of old proxies send.
bool is_hop_by_hop(std::string_view name);

// Appends the head with its empty line. Refused: fields that couldn't be read as what they are
// meant to be (response splitting), and edits that would change where the message ends; then `out`
// is as it was.
Status append_request_head(std::string& out, const RequestHead& head, const HeadEdit& edit);
Status append_response_head(std::string& out, const ResponseHead& head, const HeadEdit& edit);

}  // namespace clonesafe::wire::http1

#endif  // CLONESAFE_PROXY_WIRE_HTTP1_HEAD_WRITER_H_
