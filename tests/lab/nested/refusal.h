#ifndef CLONESAFE_TESTS_LAB_NESTED_REFUSAL_H_
#define CLONESAFE_TESTS_LAB_NESTED_REFUSAL_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/lab/nested/lab_vm.h"

namespace clonesafe::lab {

// The program under test; all that the unit lane knows of the environment.
std::string clonevm_program();

// How a refusal must look: one line on stderr that holds each of `says`, an exit code of 1 to 125,
// no process left, and in the test's folder nothing that was not there before. `may_stay` names
// what is excepted from the last (the logs of a clone that did not come to run).
struct Refusal {
  std::vector<std::string> arguments;  // of clonevm
  std::vector<std::string> says;
  std::function<void()> in_child = {};
  std::vector<std::string> may_stay = {};
};

class RefusalTest : public testing::Test {
 protected:
  RefusalTest() { adopt_orphans(); }
  void expect_refused(const Refusal& refusal) const;
  std::filesystem::path path(const std::string& name) const { return scratch_ / name; }
  Scratch scratch_;

 private:
  Scratch aside_;  // what is not under watch
};

// For Refusal::in_child: the program finds no /dev/kvm, or is nobody.
void hide_kvm();
void become_nobody();
inline constexpr unsigned kNobody = 65534;

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_REFUSAL_H_
