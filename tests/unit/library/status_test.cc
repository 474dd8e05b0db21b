// What cs_status says of a machine, and that hosts that repeat themselves are found out.
#include <gmock/gmock.h>

#include <atomic>
#include <cerrno>

#include "tests/unit/library/laboratory.h"

namespace clonesafe::laboratory {
namespace {

using ::testing::HasSubstr;
using ::testing::IsNull;

class StatusTest : public Laboratory {
 protected:
  static cs_status_report status() {
    cs_status_report report = {};
    EXPECT_EQ(cs_status(&report, sizeof(report)), 0);
    return report;
  }
  static void expect(std::uint32_t separation, std::uint32_t repeated) {
    const cs_status_report report = status();
    EXPECT_STREQ(cs_separation_name(report.separation), cs_separation_name(separation));
    EXPECT_EQ(report.repeated, repeated);
  }
  static int code_of_draw() {
    Value value = {};
    const int result = cs_random(value.data(), value.size());
    EXPECT_TRUE(result == 0 || value == Value{});
    return result;
  }
  // From now on each process has a processor of its own.
  static void use_processor() {
    static std::atomic<std::uint64_t> count = 0;
    core::seams_for_testing.hardware_random = [](std::uint64_t(&words)[4]) {
      for (auto& word : words) word = (static_cast<std::uint64_t>(::getpid()) << 32) + ++count;
      return true;
    };
  }
  static Publication restored(std::uint8_t number) {
    return {.generation = number,
            .reseed_epoch = number,
            .diversifier = number,
            .restore_id = number,
            .state = CLONESAFE_STATE_REPAIRING};
  }
  static std::vector<Value> first_values(const std::vector<std::vector<Value>>& all) {
    std::vector<Value> values;
    for (const auto& one : all) values.push_back(one.at(0));
    return values;
  }
  // Eight siblings that were restored as one, each of which is restored once more to what
  // `draw_again` makes of it and then draws. How many of those values repeat another.
  template <class DrawAgain>
  std::size_t repeated_when_restored_twice(DrawAgain draw_again) {
    publish({.diversifier = 1, .restore_id = 1});
    restart();
    draw();
    const auto all = run_clones(8, [&](int clone) {
      write_page_as_vmm(restored(2));
      draw();
      return std::vector<Value>{draw_again(clone, restored(3))};
    });
    return count_repeated(first_values(all));
  }
};

TEST_F(StatusTest, NamesWhatIsMissing) {
  core::seams_for_testing.kernel_random = [](void*, std::size_t) { return -EPERM; };
  restart();
  EXPECT_EQ(code_of_draw(), CS_E_ENTROPY);
  const cs_status_report nothing = status();
  EXPECT_EQ(nothing.sources, 0u);
  EXPECT_THAT(nothing.page_problem, HasSubstr("No such file"));
  EXPECT_THAT(nothing.vmclock_problem, HasSubstr("No such file"));
  EXPECT_THAT(nothing.word_problem, HasSubstr("no source"));
  EXPECT_THAT(nothing.fork_problem, HasSubstr("fork"));
  EXPECT_THAT(nothing.kernel_problem, HasSubstr("not permitted"));
  EXPECT_THAT(nothing.processor_problem, HasSubstr("RDRAND"));
}

TEST_F(StatusTest, NamesNothingWhereNothingIsMissing) {
  core::seams_for_testing.detect_forks = true;
  publish({.diversifier = 1});
  write_vmclock(1);
  restart();
  use_processor();
  draw();
  const cs_status_report all = status();
  EXPECT_EQ(all.sources, std::uint32_t{CS_SOURCE_PAGE | CS_SOURCE_VMCLOCK | CS_SOURCE_FORK |
                                       CS_SOURCE_KERNEL_RANDOM | CS_SOURCE_HARDWARE_RANDOM});
  for (const char* problem : {all.page_problem, all.vmclock_problem, all.word_problem,
                              all.fork_problem, all.kernel_problem, all.processor_problem}) {
    EXPECT_THAT(problem, IsNull());
  }
  EXPECT_EQ(all.separation, std::uint32_t{CS_SEPARATION_HOST});
}

TEST_F(StatusTest, PlainPageSaysWhyItIsLate) {
  publish({.tier = CLONESAFE_TIER_LAGGING});
  restart();
  EXPECT_THAT(status().word_problem, HasSubstr("plain page"));
  publish({.tier = CLONESAFE_TIER_ANNOUNCED});
  EXPECT_THAT(status().word_problem, HasSubstr("frozen"));
  publish({.tier = CLONESAFE_TIER_NONE});
  EXPECT_THAT(status().word_problem, HasSubstr("no source of its own"));
  publish({.tier = CLONESAFE_TIER_WORD});
  EXPECT_THAT(status().word_problem, IsNull());
}

TEST_F(StatusTest, KernelThatAnswersAgainIsASourceAgain) {
  core::seams_for_testing.kernel_random = [](void*, std::size_t) { return -ENOSYS; };
  restart();
  EXPECT_EQ(code_of_draw(), CS_E_ENTROPY);
  EXPECT_EQ(status().sources & CS_SOURCE_KERNEL_RANDOM, 0u);
  core::seams_for_testing.kernel_random = [](void*, std::size_t) { return 0; };
  draw();
  EXPECT_NE(status().sources & CS_SOURCE_KERNEL_RANDOM, 0u);
}

TEST_F(StatusTest, SaysWhetherTheHostOrOnlyTheKernelSeparates) {
  restart();
  expect(CS_SEPARATION_KERNEL, 0);
  publish({});
  draw();
  expect(CS_SEPARATION_KERNEL, 0);
  use_processor();
  expect(CS_SEPARATION_PROCESSOR, 0);
  publish({.diversifier = 1});
  expect(CS_SEPARATION_HOST, 0);
  publish({.vm_generation_id = 1});
  expect(CS_SEPARATION_HOST, 0);
}

TEST_F(StatusTest, VmclockAloneSeparatesNobodyWithoutAProcessor) {
  write_vmclock(1);
  restart();
  draw();
  expect(CS_SEPARATION_KERNEL, 0);
  write_vmclock(2);
  expect(CS_SEPARATION_NONE, 0);
  EXPECT_EQ(code_of_draw(), CS_E_NOT_UNIQUE);
  expect(CS_SEPARATION_NONE, 0);
}

TEST_F(StatusTest, NewIdsAndSeedsAreNotRepeated) {
  publish({.diversifier = 1, .restore_id = 1});
  restart();
  draw();
  run_clones(1, [](int) {
    for (std::uint8_t i = 2; i < 20; ++i) {
      write_page_as_vmm(restored(i));
      draw();
      expect(CS_SEPARATION_HOST, 0);
      Publication safe = restored(i);
      safe.state = CLONESAFE_STATE_SAFE;
      write_page_as_agent(safe);
      draw();
      expect(CS_SEPARATION_HOST, 0);
    }
    return std::vector<Value>{};
  });
}

TEST_F(StatusTest, RepeatedIdWithANewSeedIsReportedAndDiverges) {
  EXPECT_EQ(repeated_when_restored_twice([](int clone, Publication again) {
              again.restore_id = 2;
              again.diversifier = static_cast<std::uint8_t>(10 + clone);
              write_page_as_vmm(again);
              const Value value = draw();
              expect(CS_SEPARATION_HOST, CS_REPEATED_RESTORE_ID);
              return value;
            }),
            0u);
}

// A seed that the lineage had: siblings may have it as well, so it counts for nothing.
TEST_F(StatusTest, RepeatedSeedWithANewIdIsReportedAndFailsClosedUntilTheKernelIsSafe) {
  EXPECT_EQ(repeated_when_restored_twice([](int clone, Publication again) {
              again.diversifier = 1;
              write_page_as_vmm(again);
              EXPECT_EQ(code_of_draw(), CS_E_NOT_UNIQUE);
              expect(CS_SEPARATION_NONE, CS_REPEATED_SEED);
              // The agent has reseeded the kernel.
              set_kernel_stream(40 + static_cast<std::uint64_t>(clone));
              again.state = CLONESAFE_STATE_SAFE;
              again.kernel_rng_epoch = 2;
              write_page_as_agent(again);
              const Value value = draw();
              expect(CS_SEPARATION_KERNEL, CS_REPEATED_SEED);
              draw_many(100);
              return value;
            }),
            0u);
}

TEST_F(StatusTest, RepeatedSeedDivergesByTheProcessorAtOnce) {
  EXPECT_EQ(repeated_when_restored_twice([](int, Publication again) {
              use_processor();
              again.diversifier = 1;
              write_page_as_vmm(again);
              const Value value = draw();
              expect(CS_SEPARATION_PROCESSOR, CS_REPEATED_SEED);
              return value;
            }),
            0u);
}

// Everything as at the last restore, generation included: it is a change all the same.
TEST_F(StatusTest, HostThatRepeatsAWholeRestoreIsReportedAndCountsAsAChange) {
  publish({.diversifier = 1, .restore_id = 1});
  restart();
  draw();
  run_clones(1, [](int) {
    write_page_as_vmm(restored(2));
    draw();
    cs_stamp stamp = {};
    EXPECT_EQ(cs_generation(&stamp), 0);
    write_page_as_vmm(restored(2));
    EXPECT_EQ(cs_changed(&stamp), CS_CHANGED_GENERATION | CS_CHANGED_RESEED);
    EXPECT_EQ(code_of_draw(), CS_E_NOT_UNIQUE);
    expect(CS_SEPARATION_NONE, CS_REPEATED_RESTORE_ID | CS_REPEATED_SEED);
    use_processor();
    draw();
    expect(CS_SEPARATION_PROCESSOR, CS_REPEATED_RESTORE_ID | CS_REPEATED_SEED);
    return std::vector<Value>{};
  });
}

TEST_F(StatusTest, ClonesWithEqualCountersAndDifferentSeedsDiverge) {
  publish({.diversifier = 1, .restore_id = 1});
  write_vmclock(1);
  restart();
  draw();
  const auto all = run_clones(8, [](int clone) {
    write_clone_counter(2);
    Publication publication = restored(2);
    publication.diversifier = static_cast<std::uint8_t>(10 + clone);
    write_page_as_vmm(publication);
    return draw_many(1);
  });
  EXPECT_EQ(count_repeated(first_values(all)), 0u);
}

// The kernel's generator is as it was in the source, in every clone: VMGENID is off, and no agent
// has reseeded it.
TEST_F(StatusTest, WithoutVmGenerationIdAndWithAKernelThatIsNotReseededSeedsDiverge) {
  publish({.diversifier = 1, .restore_id = 1});
  restart();
  draw();
  const auto body = [](bool seeds) {
    return [seeds](int clone) {
      Publication publication = restored(2);
      publication.state = CLONESAFE_STATE_SAFE;
      publication.vm_generation_id = 0;
      publication.diversifier = static_cast<std::uint8_t>(seeds ? 10 + clone : 9);
      write_page_as_vmm(publication);
      return draw_many(1);
    };
  };
  EXPECT_EQ(count_repeated(first_values(run_clones(8, body(true)))), 0u);
  // The twin: it is the seed that does it.
  EXPECT_EQ(count_repeated(first_values(run_clones(8, body(false)))), 1u);
}

TEST_F(StatusTest, SeparationsHaveNames) {
  EXPECT_STREQ(cs_separation_name(CS_SEPARATION_NONE), "none");
  EXPECT_STREQ(cs_separation_name(CS_SEPARATION_HOST), "host");
  EXPECT_STREQ(cs_separation_name(77), "unknown");
}

}  // namespace
}  // namespace clonesafe::laboratory
