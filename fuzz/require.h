#ifndef CLONESAFE_FUZZ_REQUIRE_H_
#define CLONESAFE_FUZZ_REQUIRE_H_

#include <algorithm>
#include <cstdlib>

#include "libclonesafe/base/error.h"

// Also in a build without assertions.
inline void require(bool holds) {
  if (!holds) std::abort();
}

// One line of printable ASCII, whatever the peer sent.
inline void require_readable(const clonesafe::Error& error) {
  require(!error.message().empty() &&
          std::ranges::all_of(error.message(), [](char c) { return c >= ' ' && c < 0x7f; }));
}

#endif  // CLONESAFE_FUZZ_REQUIRE_H_
