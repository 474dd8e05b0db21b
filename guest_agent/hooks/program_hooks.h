#ifndef CLONESAFE_GUEST_AGENT_HOOKS_PROGRAM_HOOKS_H_
#define CLONESAFE_GUEST_AGENT_HOOKS_PROGRAM_HOOKS_H_

#include <chrono>
#include <string>

#include "guest_agent/helper/helper_client.h"
#include "guest_agent/hooks/hooks.h"

namespace clonesafe::agent {

// The programs in FOLDER/before-snapshot and FOLDER/after-restore (docs/man/clonesafed.8), run by
// the helper process.
class ProgramHooks final : public Hooks {
 public:
  struct Options {
    std::string folder;  // the helper's; empty: there are none
    std::chrono::milliseconds each;
    std::chrono::milliseconds all;
  };
  ProgramHooks(HelperClient& helper, Options options)
      : helper_(helper), options_(std::move(options)) {}

  bool any(const HookEvent& event) override;
  void run(const HookEvent& event, Done done) override;
  void cancel() override;

 private:
  HelperClient& helper_;
  const Options options_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HOOKS_PROGRAM_HOOKS_H_
