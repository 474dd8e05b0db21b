#ifndef CLONESAFE_PROXY_SESSION_SESSION_RECORD_H_
#define CLONESAFE_PROXY_SESSION_SESSION_RECORD_H_

#include <chrono>
#include <string_view>

#include "proxy/core/address.h"
#include "proxy/core/traffic.h"

namespace clonesafe::proxy {

// What operators are told of one session, from the first byte of its TLS handshake to its end.
struct SessionRecord {
  Endpoint from;
  std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
  Traffic application = {};
  Endpoint upstream = {};     // the last one; empty: none yet
  std::string_view how = {};  // it ended, in a word; the first reason counts
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SESSION_SESSION_RECORD_H_
