#ifndef CLONESAFE_TESTS_SUPPORT_CERTIFICATE_H_
#define CLONESAFE_TESTS_SUPPORT_CERTIFICATE_H_

#include <chrono>
#include <filesystem>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::support {

// A key and a certificate for `name`, from two hours ago until then, that is its own authority:
// NAME.key and NAME.pem.
Status make_certificate(const std::filesystem::path& folder, const std::string& name,
                        std::chrono::seconds until = std::chrono::hours(1));

}  // namespace clonesafe::support

#endif  // CLONESAFE_TESTS_SUPPORT_CERTIFICATE_H_
