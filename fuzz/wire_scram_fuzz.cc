// SCRAM messages and verifiers of a peer or a file. The first byte says which. No message but the
// client's own proof is let in.
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/require.h"
#include "proxy/wire/scram/base64.h"
#include "proxy/wire/scram/client.h"
#include "proxy/wire/scram/password.h"
#include "proxy/wire/scram/server.h"

using namespace clonesafe;
using namespace clonesafe::wire::scram;

namespace {

constexpr std::string_view kClientNonce = "client nonce of 25 bytes.";
constexpr std::string_view kServerNonce = "server nonce of 25 bytes.";

const Credential& credential() {
  static const Credential kCredential =
      *derive_credential(*prepare_password("secret"), "salt", 4096);
  return kCredential;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  auto client = Client::with_credential(credential(), kClientNonce);
  auto server = Server::create(*verifier_of(credential()), kServerNonce);
  switch (data[0] % 7) {
    case 0: {
      const auto first = server->first(kMechanism, text);
      if (!first) return require_readable(first.error()), 0;
      require(parse_server_first(*first).has_value());
      return 0;
    }
    case 1: {
      const auto right = client->final(*server->first(kMechanism, client->first()));
      const auto final = server->final(text);
      require(final.has_value() == (text == *right));
      if (!final) require_readable(final.error());
      return 0;
    }
    case 2: {
      const auto final = client->final(text);
      if (!final) return require_readable(final.error()), 0;
      require(parse_client_final(*final).has_value());
      return 0;
    }
    case 3: {
      const auto proof = client->final(*server->first(kMechanism, client->first()));
      const auto right = *server->final(*proof);
      const auto verified = client->verify(text);
      // Extensions may follow.
      require(!verified || text == right || text.starts_with(right + ","));
      if (!verified) require_readable(verified.error());
      return 0;
    }
    case 4: {
      const auto verifier = parse_verifier(text);
      if (!verifier) return require_readable(verifier.error()), 0;
      require(format_verifier(*verifier) == text);
      return 0;
    }
    case 5: {
      if (const auto bytes = from_base64(text)) require(base64(*bytes) == text);
      require(from_base64(base64(text)) == text);
      return 0;
    }
    default: {
      const auto prepared = prepare_password(text);
      if (!prepared) return require_readable(prepared.error()), 0;
      require(!prepared->view().empty());
      return 0;
    }
  }
}
