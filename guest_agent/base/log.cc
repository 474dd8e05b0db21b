#include "guest_agent/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <string>

namespace clonesafe::agent {
namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = spdlog::stderr_logger_mt("clonesafed");
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%f %n %l: %v");
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *instance;
}

}  // namespace

Status set_log_level(std::string_view level) {
  if (level == "debug") {
    logger().set_level(spdlog::level::debug);
  } else if (level == "info") {
    logger().set_level(spdlog::level::info);
  } else if (level == "warning") {
    logger().set_level(spdlog::level::warn);
  } else if (level == "error") {
    logger().set_level(spdlog::level::err);
  } else {
    return fail("unknown log level '" + std::string(level) + "' (debug, info, warning, error)");
  }
  return {};
}

void log_debug(std::string_view line) {
  logger().debug("{}", line);
}
void log_info(std::string_view line) {
  logger().info("{}", line);
}
void log_warning(std::string_view line) {
  logger().warn("{}", line);
}
void log_error(std::string_view line) {
  logger().error("{}", line);
}

}  // namespace clonesafe::agent
