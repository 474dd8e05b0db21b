#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_TERMINAL_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_TERMINAL_H_

#include <cstdint>
#include <cstdio>
#include <string>

namespace clonesafe::supervisor {

// Where a command prints: results to one stream, errors and, if that is a terminal, progress to the
// other. A progress line is wiped before anything else is printed.
class Terminal {
 public:
  Terminal(std::FILE* out, std::FILE* err);
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() { wipe(); }

  void result(const std::string& line);
  // "clonevm: <message>"
  void error(const std::string& message);
  void note(const std::string& message) { error(message); }
  void progress(const std::string& text);
  // "checking memory: 45 %", not more often than a percent changes.
  void progress(const std::string& text, std::uint64_t done, std::uint64_t total);

 private:
  void wipe();
  std::FILE* out_;
  std::FILE* err_;
  bool interactive_;
  std::string shown_;
};

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_TERMINAL_H_
