#ifndef CLONESAFE_PROXY_TLS_SEALED_BIO_H_
#define CLONESAFE_PROXY_TLS_SEALED_BIO_H_

#include <openssl/bio.h>

#include <cstddef>
#include <span>
#include <vector>

namespace clonesafe::proxy {

// What goes between a TLS session and the network, by hand: records from the peer are put in,
// records for it are taken out. No I/O.
struct SealedBytes {
  std::span<const std::byte> from_peer;  // what the session hasn't read yet; not a copy
  std::vector<std::byte> to_peer;
};

// A BIO of them for SSL_set_bio(), in both directions; they outlive it. Null without memory.
BIO* make_bio(SealedBytes& bytes);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_TLS_SEALED_BIO_H_
