// Each state that a source can be in has its answer.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

using ::testing::HasSubstr;
using ::testing::IsNull;

class SourcesTest : public Laboratory {
 protected:
  static cs_status_report status() {
    cs_status_report report = {};
    EXPECT_EQ(cs_status(&report, sizeof(report)), 0);
    return report;
  }
  void write_page_file(const std::string& contents) const {
    std::ofstream(page_path_, std::ios::binary | std::ios::trunc) << contents;
  }
  // Draws and stays in tier none, for the reason given.
  void expect_no_page(const char* problem) {
    restart();
    draw();
    const cs_status_report report = status();
    EXPECT_EQ(report.tier, std::uint32_t{CS_TIER_NONE});
    EXPECT_EQ(report.state, std::uint32_t{CS_STATE_UNKNOWN});
    EXPECT_EQ(report.sources & CS_SOURCE_PAGE, 0u);
    ASSERT_NE(report.page_problem, nullptr);
    EXPECT_THAT(report.page_problem, HasSubstr(problem));
    EXPECT_EQ(report.stamp.generation, 0u);
  }
};

TEST_F(SourcesTest, AbsentPageLeavesTierNoneAndSaysWhere) {
  expect_no_page("No such file or directory");
  EXPECT_STREQ(status().page_path, page_path_.c_str());
  EXPECT_THAT(status().vmclock_problem, HasSubstr("No such file or directory"));
}

TEST_F(SourcesTest, ShortFileIsRefused) {
  write_page_file(std::string(4095, '\0'));
  expect_no_page("shorter");
}

TEST_F(SourcesTest, BadMagicIsRefused) {
  write_page_file(std::string(4096, 'x'));
  expect_no_page("bad magic");
}

TEST_F(SourcesTest, FifoIsRefusedWithoutHanging) {
  ASSERT_EQ(::mkfifo(page_path_.c_str(), 0600), 0);
  expect_no_page("neither a regular file nor a device");
}

TEST_F(SourcesTest, UnreadablePageIsReported) {
  publish({});
  ASSERT_EQ(::chmod(page_path_.c_str(), 0), 0);
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
  // Root reads everything, so a child without its rights looks.
  const pid_t child = ::fork();
  if (child == 0) {
    const passwd* nobody = ::getpwnam("nobody");  // NOLINT(concurrency-mt-unsafe): one thread
    if (::geteuid() == 0 &&
        (nobody == nullptr || ::setresuid(nobody->pw_uid, nobody->pw_uid, nobody->pw_uid) != 0)) {
      ::_exit(4);
    }
    expect_no_page("Permission denied");
    ::_exit(HasFailure() ? 1 : 0);
  }
  int result = 0;
  ASSERT_EQ(::waitpid(child, &result, 0), child);
  EXPECT_TRUE(WIFEXITED(result) && WEXITSTATUS(result) == 0) << result;
}

TEST_F(SourcesTest, UsablePageGivesTierStateAndStamp) {
  publish({.generation = 11, .reseed_epoch = 12, .kernel_rng_epoch = 13, .diversifier = 9});
  restart();
  draw();
  const cs_status_report report = status();
  EXPECT_EQ(report.tier, std::uint32_t{CS_TIER_WORD});
  EXPECT_EQ(report.state, std::uint32_t{CS_STATE_SAFE});
  EXPECT_THAT(report.page_problem, IsNull());
  EXPECT_EQ(report.stamp.generation, 11u);
  EXPECT_EQ(report.stamp.reseed_epoch, 12u);
  EXPECT_EQ(report.stamp.kernel_rng_epoch, 13u);
  EXPECT_EQ(report.seeded_from,
            std::uint32_t{CS_SOURCE_PAGE | CS_SOURCE_KERNEL_RANDOM | CS_SOURCE_DIVERSIFIER});
}

TEST_F(SourcesTest, LaggingAndAnnouncedPagesSaySo) {
  publish({.tier = CLONESAFE_TIER_LAGGING});
  restart();
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_LAGGING});
  publish({.tier = CLONESAFE_TIER_ANNOUNCED});
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_ANNOUNCED});
  publish({.tier = 99});
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_LAGGING});
}

TEST_F(SourcesTest, PageThatAppearsLaterIsTakenUp) {
  restart();
  draw();
  cs_stamp before = {};
  ASSERT_EQ(cs_generation(&before), 0);
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_NONE});
  publish({.generation = 5});
  draw();
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_WORD});
  EXPECT_NE(cs_changed(&before) & CS_CHANGED_GENERATION, 0);
}

// By default not every draw looks; but the interval is bounded.
TEST_F(SourcesTest, PageThatAppearsIsFoundWithinTheRescanInterval) {
  core::seams_for_testing.rescan_always = false;
  restart();
  draw();
  publish({.generation = 5});
  const std::int64_t start = core::coarse_now_ns();
  while (status().tier == CS_TIER_NONE && core::coarse_now_ns() - start < 5'000'000'000) draw();
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_WORD});
}

TEST_F(SourcesTest, ReplacedPageIsTakenUpAndCountsAsAChangeAlsoWithAnEqualControlWord) {
  publish({.generation = 5});
  restart();
  draw();
  cs_stamp before = {};
  ASSERT_EQ(cs_generation(&before), 0);
  remove_page();
  publish({.generation = 6});  // its control word is that of the first: one commit
  draw_many(70);               // a block's end: there the library looks
  cs_stamp after = {};
  ASSERT_EQ(cs_generation(&after), 0);
  EXPECT_EQ(after.words[1], before.words[1]);
  EXPECT_EQ(after.generation, 6u);
  EXPECT_NE(cs_changed(&before), 0);
}

TEST_F(SourcesTest, PageWhoseNameGoesAwayStaysInUse) {
  publish({.generation = 5});
  restart();
  draw();
  remove_page();
  draw_many(70);
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_WORD});
  EXPECT_EQ(status().stamp.generation, 5u);
}

TEST_F(SourcesTest, PageThatGoesBadUnderTheReaderFallsBackToTierNone) {
  publish({.generation = 5});
  restart();
  draw();
  run_clones(1, [](int) {
    write_page_as_vmm({});
    auto* page = const_cast<clonesafe_generation_page*>(core::process()->sources.stamp().page);
    page->magic = 1;
    draw();
    EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_NONE});
    EXPECT_THAT(status().page_problem, HasSubstr("bad magic"));
    page->magic = CLONESAFE_GENERATION_PAGE_MAGIC;
    page->control = (9u << 2) | 3u;
    draw();
    EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_NONE});
    EXPECT_THAT(status().page_problem, HasSubstr("nothing was published"));
    return std::vector<Value>{};
  });
}

TEST_F(SourcesTest, VmclockJoinsTheStamp) {
  write_vmclock(21);
  restart();
  draw();
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_WORD});
  EXPECT_NE(status().sources & CS_SOURCE_VMCLOCK, 0u);
  EXPECT_EQ(status().stamp.generation, 21u);
  cs_stamp before = {};
  ASSERT_EQ(cs_generation(&before), 0);
  write_vmclock(20);  // not larger: different is enough
  EXPECT_EQ(cs_changed(&before), CS_CHANGED_GENERATION | CS_CHANGED_RESEED);
}

TEST_F(SourcesTest, VmclockThatCannotTellIsRefused) {
  write_vmclock(21);
  const auto patch = [&](off_t offset, std::uint32_t value) {
    const int fd = ::open(vmclock_path_.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_EQ(::pwrite(fd, &value, sizeof(value), offset), 4);
    ::close(fd);
  };
  patch(offsetof(clonesafe_vmclock, flags), 0);
  restart();
  EXPECT_THAT(status().vmclock_problem, HasSubstr("without a generation counter"));
  write_vmclock(21);
  patch(offsetof(clonesafe_vmclock, size), 0x68);
  restart();
  EXPECT_THAT(status().vmclock_problem, HasSubstr("too old"));
  write_vmclock(21);
  patch(offsetof(clonesafe_vmclock, magic), 1);
  restart();
  EXPECT_THAT(status().vmclock_problem, HasSubstr("bad magic"));
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_NONE});
}

TEST_F(SourcesTest, TooLongAPathNamesNoPageInsteadOfTheDefaultOne) {
  const std::string path(5000, 'a');
  core::seams_for_testing.page_path = path.c_str();
  restart();
  EXPECT_STREQ(status().page_path, "");
  EXPECT_EQ(status().tier, std::uint32_t{CS_TIER_NONE});
}

}  // namespace
}  // namespace clonesafe::laboratory
