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
  // Starts a migration to, or from, a file. Its path may hold nothing that a shell would take
  // apart.
  Status migrate_to(const std::filesystem::path& file);
  Status migrate_from(const std::filesystem::path& file);
  // Polls until the migration has failed, or has completed and the machine can be started again:
  // for a moment QEMU says the one and still refuses the other.
  Status wait_migrated();

 private:
  explicit Qmp(UniqueFd fd) : fd_(std::move(fd)) {}
  Status migrate(const std::string& command, const std::string& uri);
  Result<std::string> read_line();

  UniqueFd fd_;
  std::string buffer_;
  bool has_file_migration_ = false;  // since QEMU 8.2; before, a shell copies
};

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_RUN_QMP_H_
