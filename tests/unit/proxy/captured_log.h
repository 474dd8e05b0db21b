#ifndef CLONESAFE_TESTS_UNIT_PROXY_CAPTURED_LOG_H_
#define CLONESAFE_TESTS_UNIT_PROXY_CAPTURED_LOG_H_

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <sstream>
#include <string>

namespace clonesafe::proxy {

// What this process logs from here on, in place of the usual. Read once nobody logs any more.
class CapturedLog {
 public:
  CapturedLog() {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "captured", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines_)));
  }
  ~CapturedLog() { spdlog::set_default_logger(earlier_); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;

  std::string text() const { return lines_.str(); }

 private:
  const std::shared_ptr<spdlog::logger> earlier_ = spdlog::default_logger();
  std::ostringstream lines_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_CAPTURED_LOG_H_
