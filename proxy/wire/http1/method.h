#ifndef CLONESAFE_PROXY_WIRE_HTTP1_METHOD_H_
#define CLONESAFE_PROXY_WIRE_HTTP1_METHOD_H_

#include <cstdint>
#include <string_view>

namespace clonesafe::wire::http1 {

// RFC 9110, 9.3, and PATCH. Every other token is kOther, of which nothing is known.
enum class Method : std::uint8_t {
  kOther,
  kConnect,
  kDelete,
  kGet,
  kHead,
  kOptions,
  kPatch,
  kPost,
  kPut,
  kTrace,
};

// Methods are case-sensitive: "get" is another one.
Method find_method(std::string_view name);

// RFC 9110, 9.2.1: asks for no change.
bool is_safe(Method method);
// RFC 9110, 9.2.2: twice does what once does, so that a proxy may send it again.
bool is_idempotent(Method method);

}  // namespace clonesafe::wire::http1

#endif  // CLONESAFE_PROXY_WIRE_HTTP1_METHOD_H_
