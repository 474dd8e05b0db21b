#ifndef CLONESAFE_TESTS_LAB_NESTED_CONFINEMENT_H_
#define CLONESAFE_TESTS_LAB_NESTED_CONFINEMENT_H_

#include <sys/types.h>

#include <filesystem>
#include <string>

namespace clonesafe::lab {

// The value of a line of /proc/.../status; "nothing" if it has none of that name.
std::string status_field(const std::filesystem::path& task, const std::string& name);

// Filter, privileges and root of each thread of a machine's process. KVM of some kernels has a
// thread in it too.
void expect_confined(const std::string& pid, const std::filesystem::path& root, int vcpus);

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_CONFINEMENT_H_
