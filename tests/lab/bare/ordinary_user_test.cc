// A user who may open /dev/kvm and nothing else has all that root has, the whole jail included.
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdlib>

#include "tests/lab/bare/bare_vm.h"
#include "tests/lab/nested/confinement.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
constexpr uid_t kUser = 1000;

// What is started meanwhile is this user's, without a way back; this process has one.
class AsOrdinaryUser {
 public:
  explicit AsOrdinaryUser(gid_t group) {
    done_ = ::setgroups(1, &group) == 0 && ::setresgid(kUser, kUser, 0) == 0 &&
            ::setresuid(kUser, kUser, 0) == 0;
  }
  ~AsOrdinaryUser() {
    if (::setresuid(0, 0, 0) != 0 || ::setresgid(0, 0, 0) != 0 || ::setgroups(0, nullptr) != 0)
      std::abort();
  }
  AsOrdinaryUser(const AsOrdinaryUser&) = delete;
  AsOrdinaryUser& operator=(const AsOrdinaryUser&) = delete;
  bool done() const { return done_; }

 private:
  bool done_ = false;
};

// Within AsOrdinaryUser: a machine's process lets nobody look into it, its own user neither.
class AsRootAgain {
 public:
  AsRootAgain() { EXPECT_EQ(::seteuid(0), 0); }
  ~AsRootAgain() { EXPECT_EQ(::seteuid(kUser), 0); }
  AsRootAgain(const AsRootAgain&) = delete;
  AsRootAgain& operator=(const AsRootAgain&) = delete;
};

json::object status_of(const fs::path& api) {
  const auto outcome = run({Lab::get().clonevm, "status", "--api", api.string()}, Seconds(60));
  EXPECT_TRUE(outcome && outcome->status == 0);
  boost::system::error_code error;
  const auto status = json::parse(outcome.value_or(Outcome{}).output, error);
  return status.is_object() ? status.get_object() : json::object{};
}

void expect_users_and_confined(const fs::path& folder, const fs::path& api) {
  auto status = status_of(api);
  ASSERT_TRUE(status.contains("pid")) << json::serialize(status);
  EXPECT_TRUE(status["jail"].at("lacks").as_array().empty()) << json::serialize(status);
  const std::string pid = json::serialize(status["pid"]);
  std::error_code kept_out;
  EXPECT_TRUE(fs::read_symlink("/proc/" + pid + "/root", kept_out).empty());
  EXPECT_TRUE(kept_out);
  const AsRootAgain root;
  EXPECT_TRUE(status_field(fs::path("/proc") / pid, "Uid").starts_with("1000\t1000\t1000\t"));
  expect_confined(pid, folder, 1);
}

TEST(OrdinaryUser, RunsSnapshotsRestoresAndForksInTheWholeJail) {
  struct stat kvm{};
  ASSERT_EQ(::stat("/dev/kvm", &kvm), 0);
  constexpr mode_t kOpen = S_IRGRP | S_IWGRP;
  if ((kvm.st_mode & kOpen) != kOpen || kvm.st_gid == 0) {
    const char* where = std::getenv("CLONESAFE_LAB_WHERE");  // NOLINT(concurrency-mt-unsafe)
    ASSERT_STRNE(where, "nested") << "the emulated host has a group for /dev/kvm";
    GTEST_SKIP() << "no group but root's may open /dev/kvm";
  }
  const AsOrdinaryUser user(kvm.st_gid);
  ASSERT_TRUE(user.done());
  const Scratch scratch;
  const fs::path source = scratch / "source";
  auto vm = BareVm::start(source);
  ASSERT_TRUE(vm);
  expect_users_and_confined(source, vm->api());

  const auto taken = run({Lab::get().clonevm, "snapshot", "--api", vm->api().string(), "--out",
                          (scratch / "snapshot").string()},
                         Seconds(60));
  ASSERT_TRUE(taken && taken->status == 0) << taken->output;
  auto clones =
      Restored::restore(scratch / "snapshot", scratch / "clones", 2, {"--wait", "running"});
  ASSERT_TRUE(clones);
  for (const int clone : {1, 2}) {
    expect_sends_only(sent_by(scratch / "clones", clone), generation(*clones, clone));
    const fs::path folder = scratch / "clones" / std::to_string(clone);
    expect_users_and_confined(folder, folder / "api.sock");
  }
  auto forks = Restored::fork(vm->api(), scratch / "forks", 1, {"--wait", "running"});
  ASSERT_TRUE(forks);
  expect_users_and_confined(scratch / "forks/1", scratch / "forks/1/api.sock");
}

}  // namespace
}  // namespace clonesafe::lab
