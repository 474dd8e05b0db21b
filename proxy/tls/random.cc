#include "proxy/tls/random.h"

#include <openssl/rand.h>

#include "clonesafe/clonesafe.h"

namespace clonesafe::proxy {
namespace {

// libcrypto asks here before its own generators, for public values and for keys alike, so both come
// from the stream that is for keys.
int draw(unsigned char* buffer, int size) {
  if (size < 0) return 0;
  return cs_random_private(buffer, static_cast<std::size_t>(size)) == 0 ? 1 : 0;
}
int ready() {
  return 1;
}
int take_seed(const void*, int) {
  return 1;  // it needs none
}
int add_seed(const void*, int, double) {
  return 1;
}

const RAND_METHOD kMethod = {.seed = take_seed,
                             .bytes = draw,
                             .cleanup = nullptr,
                             .add = add_seed,
                             .pseudorand = draw,
                             .status = ready};

}  // namespace

Status use_clone_safe_random() {
  // Deprecated for a provider, which newer libraries have and which only replaces what was not
  // drawn from yet; this reaches every draw in all versions of OpenSSL 3.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const bool set = RAND_set_rand_method(&kMethod) == 1;
#pragma GCC diagnostic pop
  if (!set) return fail("libcrypto refuses another random generator");
  unsigned char byte = 0;
  if (RAND_bytes(&byte, 1) != 1) return fail("the random generator gives nothing");
  return {};
}

}  // namespace clonesafe::proxy
