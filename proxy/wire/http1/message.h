#ifndef CLONESAFE_PROXY_WIRE_HTTP1_MESSAGE_H_
#define CLONESAFE_PROXY_WIRE_HTTP1_MESSAGE_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "proxy/wire/http1/method.h"

namespace clonesafe::wire::http1 {

struct Field {
  std::string_view name;
  std::string_view value;  // without spaces and tabs around it
  bool operator==(const Field&) const = default;
};

enum class Version : std::uint8_t { kHttp10, kHttp11 };

// What follows a head (RFC 9112, 6.3).
struct Body {
  enum class Kind : std::uint8_t {
    kNone,
    kLength,
    kChunked,
    kUntilClose,  // of a response: until the connection ends
    kTunnel,      // after 101, or 2xx to CONNECT: bytes of another protocol, in both directions
  };
  Kind kind = Kind::kNone;
  std::uint64_t length = 0;
  bool operator==(const Body&) const = default;
};

// What both kinds of message have. All views are of the input that the head was read from.
struct Head {
  // Bytes of the input up to the body.
  std::size_t size = 0;
  Version version = Version::kHttp11;
  std::span<const Field> fields;
  Body body;
  // The sender wants to go on with the connection after this message.
  bool persistent = false;
  // The values of Connection and Upgrade, if the one names the other; else empty.
  std::string_view upgrade;

  // The value of the first field of this name, or nothing.
  const Field* find(std::string_view name) const;
};

enum class TargetForm : std::uint8_t { kOrigin, kAbsolute, kAuthority, kAsterisk };

struct RequestHead : Head {
  Method method = Method::kOther;
  std::string_view method_name;
  std::string_view target;
  TargetForm form = TargetForm::kOrigin;
  // Of Host; empty if there is none, as HTTP/1.0 allows.
  std::string_view host;
  bool expects_continue = false;
  // It offers to go on in HTTP/2 without TLS, which nothing here could read any more.
  bool offers_h2c = false;
};

struct ResponseHead : Head {
  std::uint16_t status = 0;
  std::string_view reason;

  // 1xx but 101: another response to the same request follows.
  bool interim() const { return status < 200 && status != 101; }
};

// What has to be known of a request to tell where its response ends.
struct RequestContext {
  Method method = Method::kGet;
  bool offered_upgrade = false;
};

}  // namespace clonesafe::wire::http1

#endif  // CLONESAFE_PROXY_WIRE_HTTP1_MESSAGE_H_
