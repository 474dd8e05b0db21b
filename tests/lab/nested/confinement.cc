#include "tests/lab/nested/confinement.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "tests/lab/nested/lab_vm.h"

namespace clonesafe::lab {
namespace fs = std::filesystem;

std::string status_field(const fs::path& task, const std::string& name) {
  std::istringstream lines(read_file(task / "status"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name + ":\t")) continue;
    return line.substr(name.size() + 2);
  }
  return "nothing";
}

void expect_confined(const std::string& pid, const fs::path& root, int vcpus) {
  const fs::path process = fs::path("/proc") / pid;
  std::set<std::string> names;
  for (const auto& task : fs::directory_iterator(process / "task")) {
    const std::string name = status_field(task, "Name");
    EXPECT_EQ(status_field(task, "Seccomp"), "2") << name;
    EXPECT_EQ(status_field(task, "NoNewPrivs"), "1") << name;
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
      EXPECT_EQ(status_field(task, set), "0000000000000000") << name << " " << set;
    names.insert(name);
  }
  EXPECT_TRUE(names.contains("clonevm"));
  for (int i = 0; i < vcpus; ++i) EXPECT_TRUE(names.contains("vcpu " + std::to_string(i))) << i;
  EXPECT_EQ(fs::read_symlink(process / "root"), fs::canonical(root));
}

}  // namespace clonesafe::lab
