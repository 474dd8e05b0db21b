// bare: tests of clonevm with a guest of one loop, on a host with KVM (tests/lab/bare.sh). It boots
// in no time, so there can be many of them, and what it sends shows its first instruction.
#ifndef CLONESAFE_TESTS_LAB_BARE_BARE_VM_H_
#define CLONESAFE_TESTS_LAB_BARE_BARE_VM_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/lab/nested/lab_vm.h"

namespace clonesafe::lab {

// `clonevm run` of the bare guest.
class BareVm {
 public:
  // Starts it and waits until it has sent its word. `arguments`: more of `clonevm run`;
  // `environment`: "NAME=value".
  static std::unique_ptr<BareVm> start(const std::filesystem::path& folder,
                                       const std::vector<std::string>& arguments = {},
                                       const std::vector<std::string>& environment = {});
  std::filesystem::path api() const { return folder_ / "api"; }
  std::filesystem::path sent() const { return folder_ / "serial"; }

 private:
  BareVm(std::filesystem::path folder, Process process)
      : folder_(std::move(folder)), process_(std::move(process)) {}
  std::filesystem::path folder_;
  Process process_;
};

class BareTest : public testing::Test {
 protected:
  std::filesystem::path path(const std::string& name) const { return scratch_ / name; }
  // `clonevm snapshot` of the machine behind the socket; a failure of the test if that fails.
  void snapshot(const std::filesystem::path& api, const std::filesystem::path& directory,
                const std::vector<std::string>& options) const;
  // Restored clones, with their reports. They end with the object.
  std::unique_ptr<Restored> restore(const std::filesystem::path& snapshot,
                                    const std::string& run_dir, int count,
                                    const std::vector<std::string>& options = {}) const;

 private:
  Scratch scratch_;
};

// The names of what is in a folder.
std::set<std::string> names_in(const std::filesystem::path& folder);

// Waits until the guest has sent two words at least, and checks that from its first byte on it sent
// nothing but this generation (16 hexadecimal digits, as reports have it), again and again. A clone
// may start within the word: its source had sent the bytes before.
void expect_sends_only(const std::filesystem::path& sent, const std::string& generation);
// As a clone's report has it.
std::string generation(const Restored& restored, int clone);
std::filesystem::path sent_by(const std::filesystem::path& run_dir, int clone);

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_BARE_BARE_VM_H_
