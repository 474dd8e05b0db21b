// A client of QEMU's machine protocol, as far as an audit needs it.
#ifndef CLONESAFE_TESTS_AUDIT_RUN_QMP_H_
#define CLONESAFE_TESTS_AUDIT_RUN_QMP_H_

#include <filesystem>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::audit {

class Qmp {
 public:
  static Result<Qmp> connect(const std::filesystem::path& socket);

  // Runs a command; `arguments` is a JSON object. Returns the `return` value as JSON.
  Result<std::string> execute(const std::string& command, const std::string& arguments = "{}");
  // Polls until the migration has failed, or has completed and the machine can be started again:
  // for a moment QEMU says the one and still refuses the other.
  Status wait_migrated();

 private:
  explicit Qmp(UniqueFd fd) : fd_(std::move(fd)) {}
  Result<std::string> read_line();

  UniqueFd fd_;
  std::string buffer_;
};

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_RUN_QMP_H_
