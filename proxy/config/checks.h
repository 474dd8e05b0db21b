#ifndef CLONESAFE_PROXY_CONFIG_CHECKS_H_
#define CLONESAFE_PROXY_CONFIG_CHECKS_H_

#include "proxy/config/config.h"

namespace clonesafe::proxy {

// Whether the parts of a service fit together. An error is to be read behind the service's name.
Status check_service(const ServiceConfig& service);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CONFIG_CHECKS_H_
