#ifndef CLONESAFE_PROXY_WIRE_SCRAM_MESSAGE_H_
#define CLONESAFE_PROXY_WIRE_SCRAM_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/scram/secret.h"

namespace clonesafe::wire::scram {

inline constexpr std::string_view kMechanism = "SCRAM-SHA-256";
inline constexpr std::string_view kPlusMechanism = "SCRAM-SHA-256-PLUS";
inline constexpr std::size_t kMaxMessage = 4096;  // bytes
inline constexpr std::size_t kMinNonce = 18;      // bytes, drawn by the caller
inline constexpr std::string_view kBindingFlag = "p=tls-server-end-point,,";

// RFC 5802, section 7: the attributes "x=value" of a message, from the front, in their fixed order.
class Attributes {
 public:
  // `message` is named in errors.
  Attributes(std::string_view message, std::string_view text) : message_(message), text_(text) {}

  // The value of the next attribute, which has to be `name`, and its comma.
  Result<std::string_view> take(char name);
  char next_name() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  // Skips attributes of names that may be there and mean nothing here.
  Status skip_extensions(char until = '\0');
  std::size_t position() const { return position_; }
  Status finish() const;
  std::unexpected<Error> refuse(const std::string& what) const;

 private:
  std::string_view message_;
  std::string_view text_;
  std::size_t position_ = 0;
  bool comma_ = false;  // the last attribute had one behind it
};

// Printable ASCII without commas.
bool is_nonce(std::string_view text);
// 1 to kMaxIterations, without leading zeros.
std::optional<std::uint32_t> parse_iterations(std::string_view text);
// Base64 of a key or proof.
std::optional<Key> parse_key(std::string_view text);

struct ServerFirst {
  std::string_view nonce;
  std::string salt;
  std::uint32_t iterations = 0;
};
Result<ServerFirst> parse_server_first(std::string_view text);

struct ClientFirst {
  std::string_view header;  // gs2-header: binding flag and no authorization identity
  std::string_view bare;    // what is signed
  std::string_view nonce;
};
// An authorization identity is refused, as PostgreSQL does; the name in it means nothing to it.
Result<ClientFirst> parse_client_first(std::string_view text);

struct ClientFinal {
  std::string_view without_proof;  // what is signed
  std::string_view binding;        // base64
  std::string_view nonce;
  Key proof;
};
Result<ClientFinal> parse_client_final(std::string_view text);

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_PROXY_WIRE_SCRAM_MESSAGE_H_
