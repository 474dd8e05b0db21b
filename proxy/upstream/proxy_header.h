// The PROXY protocol of HAProxy at both ends of this proxy.
#ifndef CLONESAFE_PROXY_UPSTREAM_PROXY_HEADER_H_
#define CLONESAFE_PROXY_UPSTREAM_PROXY_HEADER_H_

#include <string>

#include "proxy/core/address.h"
#include "proxy/core/loop.h"
#include "proxy/core/stream.h"

namespace clonesafe::proxy {

// Both ends of an application's connection, as the application and what is in front of the proxy
// know them.
struct Ends {
  Endpoint from;
  Endpoint to;
};

// What an upstream is told of them first. Version 1 or 2; 0: nothing.
std::string proxy_header(int version, const Ends& ends);

// Reads the header that a connection begins with, and not a byte more. `ends` are the connection's
// own, and stay so if the header says that it is from whoever connects.
Awaitable<Result<Ends>> read_proxy_header(Stream& stream, Ends ends);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_UPSTREAM_PROXY_HEADER_H_
