#ifndef CLONESAFE_GUEST_AGENT_SECRETS_SECRET_FILES_H_
#define CLONESAFE_GUEST_AGENT_SECRETS_SECRET_FILES_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "guest_agent/base/bytes.h"
#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {

// Whose a secret page is, and its nonce. Both stand in the file's name: what is in the page is its
// program's to write.
struct SecretName {
  Id16 nonce = {};
  uid_t user = 0;

  bool operator==(const SecretName&) const = default;
};

// Each secret page is a file of one page in a folder that only root can enter, in a tmpfs: its
// memory outlives the agent, so that the next one finds it where it was. A program has it by one
// open description, which holds a shared flock for as long as the program has it mapped.
class SecretFiles {
 public:
  // Makes the folder if it is missing.
  static Result<SecretFiles> open(const std::string& folder);

  // All that are there.
  Result<std::vector<SecretName>> list() const;
  // A new page with its header.
  Result<UniqueFd> create(const SecretName& name) const;
  Result<UniqueFd> open_page(const SecretName& name) const;
  // The description to give to the program.
  Result<UniqueFd> open_for_program(const SecretName& name) const;
  // Whether no program has the page any more; what it held is zeros then.
  Result<bool> take_back(const SecretName& name) const;
  // The program may have written over the header.
  Status write_header(const SecretName& name) const;
  void remove(const SecretName& name) const;

 private:
  explicit SecretFiles(UniqueFd folder) : folder_(std::move(folder)) {}
  UniqueFd folder_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SECRETS_SECRET_FILES_H_
