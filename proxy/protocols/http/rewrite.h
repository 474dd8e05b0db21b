// Heads as they are sent on: without the fields of one connection, and with what each side has to
// know of the other.
#ifndef CLONESAFE_PROXY_PROTOCOLS_HTTP_REWRITE_H_
#define CLONESAFE_PROXY_PROTOCOLS_HTTP_REWRITE_H_

#include <string>

#include "proxy/config/config.h"
#include "proxy/core/address.h"
#include "proxy/wire/http1/message.h"

namespace clonesafe::proxy::http {

// What is kept of a request when its head was read.
struct Request {
  std::string head;  // for the upstream
  wire::http1::Method method = wire::http1::Method::kOther;
  wire::http1::Version version = wire::http1::Version::kHttp11;
  wire::http1::Body body;
  bool persistent = false;
  bool expects_continue = false;
  bool offers_upgrade = false;
};

// An error names a field that can't be sent on.
Result<Request> take_request(const wire::http1::RequestHead& head, const ServiceConfig& config,
                             const Endpoint& from);

// Whether the application's connection goes on after this response, it is told in its head.
Status append_response(std::string& out, const wire::http1::ResponseHead& head,
                       const Request& request, bool goes_on);

}  // namespace clonesafe::proxy::http

#endif  // CLONESAFE_PROXY_PROTOCOLS_HTTP_REWRITE_H_
