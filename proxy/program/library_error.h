#ifndef CLONESAFE_PROXY_PROGRAM_LIBRARY_ERROR_H_
#define CLONESAFE_PROXY_PROGRAM_LIBRARY_ERROR_H_

#include <string>

#include "clonesafe/clonesafe.h"

namespace clonesafe::proxy {

inline std::string library_error(int code) {
  return std::string("libclonesafe: ") + cs_strerror(code);
}

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROGRAM_LIBRARY_ERROR_H_
