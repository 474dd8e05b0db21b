#include "tests/lab/nested/refusal.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
constexpr Seconds kRefusalTime{120};

std::set<std::string> listing(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    names.insert(fs::relative(entry.path(), folder).string());
  return names;
}

// The program would run with rights that it must not have: better that the test fails.
void require(bool done, const char* what) {
  if (done) return;
  perror(what);
  _exit(126);
}

}  // namespace

std::string clonevm_program() {
  const char* value = std::getenv("CLONESAFE_LAB_CLONEVM");  // NOLINT(concurrency-mt-unsafe)
  if (value == nullptr) ADD_FAILURE() << "the environment lacks CLONESAFE_LAB_CLONEVM";
  return value == nullptr ? "" : value;
}

void RefusalTest::expect_refused(const Refusal& refusal) const {
  std::vector<std::string> command = {clonevm_program()};
  command.insert(command.end(), refusal.arguments.begin(), refusal.arguments.end());
  const auto files_before = listing(path(""));
  const auto children_before = children();
  const std::string output = (aside_ / "stdout").string();
  const auto outcome = run(command, kRefusalTime, [&] {
    require(dup2(open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO) >= 0,
            "stdout");
    if (refusal.in_child) refusal.in_child();
  });
  ASSERT_TRUE(outcome) << outcome.error().message();
  std::string trace;
  for (const std::string& word : command) trace += word + " ";
  SCOPED_TRACE(trace + "\n" + outcome->output);

  EXPECT_GE(outcome->status, 1);
  EXPECT_LE(outcome->status, 125);
  EXPECT_TRUE(outcome->output.starts_with("clonevm: "));
  EXPECT_EQ(std::ranges::count(outcome->output, '\n'), 1);
  for (const std::string& text : refusal.says)
    EXPECT_NE(outcome->output.find(text), std::string::npos) << "it does not say: " << text;
  EXPECT_EQ(children(), children_before) << "a process was left behind";
  for (const std::string& name : listing(path(""))) {
    if (files_before.contains(name)) continue;
    EXPECT_NE(std::ranges::find(refusal.may_stay, name), refusal.may_stay.end())
        << "left behind: " << name;
  }
}

void hide_kvm() {
  if (access("/dev/kvm", F_OK) != 0) return;
  require(unshare(CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) == 0, "unshare");
  require(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "private mounts");
  require(mount("none", "/dev", "tmpfs", 0, nullptr) == 0, "an empty /dev");
  // A clone has its input from there. Not in a user namespace, where no clone gets so far.
  if (geteuid() == 0) mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3));
}

void become_nobody() {
  require(setgroups(0, nullptr) == 0 && setgid(kNobody) == 0 && setuid(kNobody) == 0, "setuid");
}

}  // namespace clonesafe::lab
