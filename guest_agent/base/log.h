#ifndef CLONESAFE_GUEST_AGENT_BASE_LOG_H_
#define CLONESAFE_GUEST_AGENT_BASE_LOG_H_

#include <string_view>

#include "libclonesafe/base/error.h"

// The agent's log, on stderr. spdlog stays behind this header: it is costly to compile.
namespace clonesafe::agent {

// `level`: debug, info, warning or error. Called once by main; before it, info and above are shown.
Status set_log_level(std::string_view level);

void log_debug(std::string_view line);
void log_info(std::string_view line);
void log_warning(std::string_view line);
void log_error(std::string_view line);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_BASE_LOG_H_
