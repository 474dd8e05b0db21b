// The balloon with Linux's own driver: what it takes out of a snapshot, and what clones find.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "tests/lab/nested/clone_fixture.h"
#include "tests/lab/nested/confinement.h"

namespace clonesafe::lab {
namespace {

namespace json = boost::json;

constexpr double kMebibyte = 1024.0 * 1024.0;
// Of the guest's memory, which is small, as each page of it is given several times. The file's
// bytes stay there when it is deleted.
constexpr int kFilledMiB = 48;
const std::string kMemory = "208M";
constexpr int kHalfMiB = kFilledMiB / 2;

const std::string kLoadDriver =
    "while read -r module; do insmod /lib/modules/balloon/$module; done </lib/modules/balloon/load";
const std::string kFillAndFree =
    "head -c " + std::to_string(kFilledMiB) + "m /dev/urandom >/tmp/filled && rm /tmp/filled";
const std::string kKeep = "head -c 3000000 /dev/urandom >/run/kept";
const std::string kSum = "sha256sum </run/kept";

class BalloonTest : public CloneTest {
 protected:
  // Takes a snapshot, prepared by the agent; its reply.
  json::object take(const Guest& guest, const std::string& name,
                    std::vector<std::string> options = {}) {
    options.insert(options.end(), {"--prepare", "agent", "--json"});
    const auto taken = guest.snapshot(scratch_ / name, options);
    EXPECT_TRUE(taken && taken->status == 0) << (taken ? taken->output : taken.error().message());
    if (!taken || taken->status != 0) return {};
    boost::system::error_code error;
    const auto reply = json::parse(taken->output, error);
    EXPECT_TRUE(reply.is_object()) << taken->output;
    if (!reply.is_object()) return {};
    json::object object = reply.get_object();
    object.erase("prepared");
    std::printf("%s: %s\n", name.c_str(), json::serialize(object).c_str());
    return object;
  }
  static double mib(const json::object& reply, const char* member) {
    const json::value* value = reply.if_contains(member);
    EXPECT_NE(value, nullptr) << member;
    return value == nullptr ? 0 : value->to_number<double>() / kMebibyte;
  }
};

std::int64_t available_kib(const Guest& guest) {
  return std::stoll(guest.get("sed -n 's/^MemAvailable: *\\([0-9]*\\).*/\\1/p' /proc/meminfo"));
}
// What the guest's kernel complains of when its free memory is not as it left it.
std::string complaints(const Guest& guest) {
  return guest.get(
      "dmesg | grep -E 'Bad page|BUG:|kernel BUG|corrupt|Out of memory|invoked oom|puff' || true");
}
void expect_kept(const Guest& guest, const std::string& sum) {
  EXPECT_EQ(guest.get(kSum), sum);
  EXPECT_EQ(complaints(guest), "");
}
// And what it gave can be used, and keeps what is written to it.
void expect_memory_is_right(const Guest& guest, const std::string& sum) {
  EXPECT_EQ(guest.get("head -c 12m /dev/urandom >/tmp/a && cp /tmp/a /dev/shm/b && cmp /tmp/a "
                      "/dev/shm/b && echo same; rm /tmp/a /dev/shm/b"),
            "same");
  expect_kept(guest, sum);
}

TEST_F(BalloonTest, PreparedSnapshotIsWithoutWhatTheGuestFreed) {
  auto vm =
      boot({.arguments = {"--balloon", "--track-dirty"}, .cmdline = kNoProbes, .memory = kMemory});
  ASSERT_TRUE(vm);
  const Guest guest = vm->guest();
  guest.get(kKeep);
  const std::string sum = guest.get(kSum);
  guest.get(kFillAndFree);
  // The twin: a guest whose driver isn't loaded.
  const auto without = take(guest, "without");
  ASSERT_TRUE(without.contains("reclaim_lacks"));
  EXPECT_EQ(without.at("reclaim_lacks").as_string(), "the guest has no driver for the balloon");
  EXPECT_EQ(mib(without, "reclaimed"), 0);
  std::filesystem::remove_all(scratch_ / "without");

  guest.get(kLoadDriver);
  const std::int64_t available = available_kib(guest);
  const auto with = take(guest, "with");
  EXPECT_GT(mib(with, "reclaimed"), kHalfMiB);
  EXPECT_LT(mib(with, "data"), mib(without, "data") - kHalfMiB);
  // Its changes since, most of which were given back: pages that became zeros.
  guest.get(kFillAndFree);
  const auto changes = take(guest, "changes", {"--diff", scratch_ / "with"});
  EXPECT_LT(mib(changes, "data"), kHalfMiB);
  EXPECT_GT(changes.at("pages").to_number<std::int64_t>(), kHalfMiB * 256);
  expect_kept(guest, sum);

  auto restored = Restored::restore(scratch_ / "changes", scratch_ / "clones", 1,
                                    {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);
  EXPECT_GT(available_kib(restored->guest(1)), available * 9 / 10) << "the balloon was not empty";
  expect_memory_is_right(restored->guest(1), sum);
  // In a clone what lies below a page is the snapshot's; here too it becomes zeros.
  restored->guest(1).get(kFillAndFree);
  const auto again = take(restored->guest(1), "again", {"--resume"});
  EXPECT_GT(mib(again, "reclaimed"), kHalfMiB);
  EXPECT_LT(mib(again, "data"), mib(without, "data"));
  auto clones_clone = Restored::restore(scratch_ / "again", scratch_ / "clones-clone", 1,
                                        {"--timeout", "110", "--wait", "safe"});
  ASSERT_TRUE(clones_clone);
  expect_kept(clones_clone->guest(1), sum);
}

// Memory of the process that is its own, not a file's.
std::int64_t own_mib(const std::string& pid) {
  const std::string kib = status_field(std::filesystem::path("/proc") / pid, "RssAnon");
  if (kib.find("kB") == std::string::npos) {
    ADD_FAILURE() << "process " << pid << ": " << kib << " of memory";
    return 0;
  }
  return std::stoll(kib) / 1024;
}

void expect_memory_goes_back(const Guest& guest, const std::string& pid) {
  guest.get("head -c " + std::to_string(kFilledMiB) + "m /dev/urandom >/tmp/filled");
  const std::int64_t filled = own_mib(pid);
  EXPECT_GT(filled, kFilledMiB);
  guest.get("rm /tmp/filled");
  EXPECT_TRUE(eventually(Seconds(60), [&] { return own_mib(pid) < filled - kHalfMiB; }))
      << filled << " MiB of which " << own_mib(pid) << " are left";
  std::printf("resident: %lld MiB, then %lld\n", static_cast<long long>(filled),
              static_cast<long long>(own_mib(pid)));
  EXPECT_EQ(complaints(guest), "");
}

TEST_F(BalloonTest, ReportedMemoryGoesBackToTheHost) {
  auto vm = boot({.arguments = {"--balloon=reporting"}, .cmdline = kNoAgent, .memory = kMemory});
  ASSERT_TRUE(vm);
  vm->guest().get(kLoadDriver);
  expect_memory_goes_back(vm->guest(), std::to_string(vm->process().pid()));
  ASSERT_TRUE(vm->guest().snapshot(scratch_ / "snapshot", {"--stop"}));
  auto clone = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 1,
                                 {"--timeout", "110", "--wait", "running"});
  ASSERT_TRUE(clone);
  expect_memory_goes_back(clone->guest(1), clone->guest(1).host_status("pid"));
}

}  // namespace
}  // namespace clonesafe::lab
