#include "vmm_device/supervisor/terminal.h"

#include <unistd.h>

namespace clonesafe::supervisor {

Terminal::Terminal(std::FILE* out, std::FILE* err)
    : out_(out), err_(err), interactive_(::isatty(::fileno(err)) == 1) {}

void Terminal::result(const std::string& line) {
  wipe();
  std::fputs((line + "\n").c_str(), out_);
  // Who reads this acts on it now, and nothing may be left in the buffer when a clone is forked.
  std::fflush(out_);
}

void Terminal::error(const std::string& message) {
  wipe();
  std::fputs(("clonevm: " + message + "\n").c_str(), err_);
  std::fflush(err_);
}

void Terminal::progress(const std::string& text) {
  if (!interactive_ || text == shown_) return;
  wipe();
  std::fputs(text.c_str(), err_);
  std::fflush(err_);
  shown_ = text;
}

void Terminal::progress(const std::string& text, std::uint64_t done, std::uint64_t total) {
  if (!interactive_ || total == 0) return;
  const auto percent =
      static_cast<unsigned>(static_cast<double>(done) * 100.0 / static_cast<double>(total));
  progress(text + ": " + std::to_string(percent) + " %");
}

void Terminal::wipe() {
  if (shown_.empty()) return;
  std::fputs("\r\x1b[K", err_);
  std::fflush(err_);
  shown_.clear();
}

}  // namespace clonesafe::supervisor
