#ifndef CLONESAFE_VMM_DEVICE_CLI_RAW_TERMINAL_H_
#define CLONESAFE_VMM_DEVICE_CLI_RAW_TERMINAL_H_

#include <memory>

#include "libclonesafe/base/error.h"

namespace clonesafe::cli {

// While it lives, what is typed reaches the guest as it is: every key, ^C too, without an echo or a
// line's end. The terminal is as it was before when the object goes, and also when a signal ends
// the process by its default action (abort, a fault, SIGQUIT). One at a time in a process.
class RawTerminal {
 public:
  // Does nothing, and keeps nothing, if `fd` is no terminal, or that of a foreground job that this
  // process is not part of.
  static Result<RawTerminal> make(int fd);
  RawTerminal(RawTerminal&&) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  ~RawTerminal();

  bool is_raw() const { return saved_ != nullptr; }

 private:
  struct Saved;
  RawTerminal();
  std::unique_ptr<Saved> saved_;
};

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_RAW_TERMINAL_H_
