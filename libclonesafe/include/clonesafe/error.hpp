// A CS_E_ code as an exception: what the C++ headers of libclonesafe throw. C++17.
#ifndef CLONESAFE_ERROR_HPP_
#define CLONESAFE_ERROR_HPP_

#include <stdexcept>

#include "clonesafe/clonesafe.h"

namespace clonesafe {

class LibraryError : public std::runtime_error {
 public:
  explicit LibraryError(int code) : std::runtime_error(cs_strerror(code)), code_(code) {}
  int code() const noexcept { return code_; }

 private:
  int code_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_ERROR_HPP_
