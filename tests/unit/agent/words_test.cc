#include "guest_agent/sources/words.h"

#include <gtest/gtest.h>

#include "guest_agent/sources/source.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

Restore decided(const Words& words) {
  return decide(words).value();
}

TEST(Decide, RestorePageIsTakenAsItStands) {
  const RestoreWords page = {.restore_id = id(1),
                             .kind = RestoreKind::kClone,
                             .generation = 7,
                             .reseed_epoch = 8,
                             .vm_generation_id = id(2),
                             .host_realtime_ns = 9};
  const Restore restore = decided({.restore_page = page, .vm_generation_id = id(3)});
  EXPECT_EQ(restore.restore_id, id(1));
  EXPECT_EQ(restore.generation, 7U);
  EXPECT_EQ(restore.reseed_epoch, 8U);
  EXPECT_EQ(restore.vm_generation_id, id(2));
  EXPECT_EQ(restore.kind, RestoreKind::kClone);
  EXPECT_EQ(restore.decided_by, "restore_page");
}

TEST(Decide, LowerSourcesDontMoveWhatTheRestorePageSays) {
  const RestoreWords page = {.restore_id = id(1), .generation = 7, .reseed_epoch = 8};
  const Words alone = {.restore_page = page};
  const Words crowd = {.restore_page = page,
                       .vm_generation_id = id(3),
                       .vmclock = VmclockWords{.generation_counter = 5},
                       .host = HostWords{.restore_id = id(9)},
                       .kernel_notice = 4};
  EXPECT_EQ(decided(alone).restore_id, decided(crowd).restore_id);
}

TEST(Decide, NewVmgenidIsANewGeneration) {
  const Restore before = decided({.vm_generation_id = id(1)});
  const Restore after = decided({.vm_generation_id = id(2)});
  EXPECT_NE(before.generation, after.generation);
  EXPECT_NE(before.reseed_epoch, after.reseed_epoch);
  EXPECT_NE(before.restore_id, after.restore_id);
  EXPECT_TRUE(after.separates_siblings);
}

TEST(Decide, SiblingsWithEqualCountersDifferByVmgenid) {
  const VmclockWords same = {.generation_counter = 2};
  EXPECT_NE(decided({.vm_generation_id = id(1), .vmclock = same}).restore_id,
            decided({.vm_generation_id = id(2), .vmclock = same}).restore_id);
}

TEST(Decide, CounterAloneIsNotTakenForUnique) {
  const Restore restore = decided({.vmclock = VmclockWords{.generation_counter = 2}});
  EXPECT_EQ(restore.decided_by, "vmclock");
  EXPECT_FALSE(restore.separates_siblings);
}

TEST(Decide, DisruptionMarkerMovesOnlyTheReseedEpoch) {
  const Restore before = decided({.vm_generation_id = id(1), .vmclock = VmclockWords{1, {}}});
  const Restore after = decided({.vm_generation_id = id(1), .vmclock = VmclockWords{2, {}}});
  EXPECT_EQ(before.generation, after.generation);
  EXPECT_NE(before.reseed_epoch, after.reseed_epoch);
  EXPECT_NE(before.restore_id, after.restore_id);
}

TEST(Decide, KernelLineBesideVmgenidIsNotASecondRestore) {
  EXPECT_EQ(decided({.vm_generation_id = id(2), .kernel_notice = 1}).restore_id,
            decided({.vm_generation_id = id(2), .kernel_notice = 2}).restore_id);
}

TEST(Decide, KernelLineAloneIsOne) {
  const Restore before = decided({.kernel_notice = 0});
  const Restore after = decided({.kernel_notice = 12});
  EXPECT_NE(before.generation, after.generation);
  EXPECT_FALSE(after.separates_siblings);
}

TEST(Decide, HostAloneDecides) {
  SourceSet sources;
  sources.set_host_words({.restore_id = id(1), .kind = RestoreKind::kBoot});
  const Restore before = decided(sources.read());
  sources.set_host_words({.restore_id = id(2), .kind = RestoreKind::kClone});
  const Restore after = decided(sources.read());
  EXPECT_EQ(after.decided_by, "host");
  EXPECT_EQ(after.kind, RestoreKind::kClone);
  EXPECT_NE(before.generation, after.generation);
}

TEST(Decide, HostThatDecidesTellsTheTimeAndTheDocument) {
  SourceSet sources;
  sources.set_host_words({.restore_id = id(1),
                          .kind = RestoreKind::kClone,
                          .realtime_ns = 12,
                          .heard_at_ns = 13,
                          .metadata = "role=worker"});
  const Restore restore = decided(sources.read());
  EXPECT_EQ(restore.host_realtime_ns, 12u);
  EXPECT_EQ(restore.monotonic_ns, 13);
  EXPECT_EQ(restore.metadata, "role=worker");
  // Of which restore the host speaks is not known where others decide.
  Words words = sources.read();
  words.vm_generation_id = id(5);
  EXPECT_EQ(decided(words).host_realtime_ns, 0u);
  EXPECT_EQ(decided(words).metadata, "");
}

TEST(Decide, ResumedByTheHostKeepsTheGeneration) {
  SourceSet sources;
  sources.set_host_words({.restore_id = id(1), .kind = RestoreKind::kBoot});
  const Restore before = decided(sources.read());
  sources.set_host_words({.restore_id = id(2), .kind = RestoreKind::kResume});
  const Restore after = decided(sources.read());
  EXPECT_EQ(before.generation, after.generation);
  EXPECT_NE(before.reseed_epoch, after.reseed_epoch);
  EXPECT_NE(before.restore_id, after.restore_id);
}

constexpr PageWords kPage = {
    .restore_id = {7}, .generation = 70, .reseed_epoch = 71, .registered = true};

TEST(Decide, PageThatTheVmmWritesIsTakenAsItStands) {
  SourceSet sources;
  sources.set_host_words({.restore_id = id(1), .kind = RestoreKind::kBoot});
  sources.set_page_words(kPage);
  const Restore restore = decided(sources.read());
  EXPECT_EQ(restore.decided_by, "generation_page");
  EXPECT_EQ(restore.restore_id, kPage.restore_id);
  EXPECT_EQ(restore.generation, 70u);
  EXPECT_EQ(restore.reseed_epoch, 71u);
  EXPECT_TRUE(restore.separates_siblings);
  // Of the same restore.
  sources.set_host_words({.restore_id = kPage.restore_id, .kind = RestoreKind::kClone});
  EXPECT_EQ(decided(sources.read()).decided_by, "generation_page");
}

TEST(Decide, HostKnowsOfARestoreThatTheVmmDidNotWriteIntoThePage) {
  SourceSet sources;
  sources.set_page_words(kPage);
  sources.set_host_words({.restore_id = id(2), .kind = RestoreKind::kClone});
  const Restore restore = decided(sources.read());
  EXPECT_EQ(restore.decided_by, "host");
  EXPECT_NE(restore.generation, 70u);
}

TEST(Decide, WordsInMemoryGoBeforeThePage) {
  SourceSet sources;
  sources.set_page_words(kPage);
  Words words = sources.read();
  words.vm_generation_id = id(5);
  EXPECT_EQ(decided(words).decided_by, "vmgenid");
  words.vm_generation_id.reset();
  words.vmclock = VmclockWords{.generation_counter = 5};
  EXPECT_EQ(decided(words).decided_by, "vmclock");
}

TEST(Decide, PageThatNoVmmWritesIsBetterThanNothingAndOnlyThan) {
  SourceSet sources;
  PageWords page = kPage;
  page.registered = false;
  sources.set_page_words(page);
  const Restore alone = decided(sources.read());
  EXPECT_EQ(alone.generation, 70u);
  EXPECT_FALSE(alone.separates_siblings);
  Words words = sources.read();
  words.kernel_notice = 12;
  EXPECT_EQ(decided(words).decided_by, "kmsg");
  // A snapshot of which only the host knows: the same machine, seeded again.
  sources.set_host_words({.restore_id = id(3), .kind = RestoreKind::kResume});
  const Restore resumed = decided(sources.read());
  EXPECT_EQ(resumed.generation, 70u);
  EXPECT_NE(resumed.reseed_epoch, alone.reseed_epoch);
  EXPECT_NE(resumed.restore_id, alone.restore_id);
}

TEST(Decide, NothingIsStableAndSaysSo) {
  EXPECT_EQ(decided({}).restore_id, decided({}).restore_id);
  EXPECT_EQ(decided({}).decided_by, "none");
  EXPECT_NE(decided({}).generation, 0U);
}

class FlakySource : public Source {
 public:
  std::string_view name() const override { return "flaky"; }
  Status read(Words& words) override {
    if (broken) return fail("can't be read now");
    words.vm_generation_id = id(value);
    return {};
  }
  bool broken = false;
  std::uint8_t value = 1;
};

TEST(SourceSet, SourceThatCantBeReadKeepsItsLastWord) {
  SourceSet sources;
  auto owned = std::make_unique<FlakySource>();
  FlakySource& source = *owned;
  sources.add(std::move(owned));
  const Words before = sources.read();
  source.broken = true;
  source.value = 2;
  EXPECT_EQ(sources.read(), before);
  source.broken = false;
  EXPECT_NE(sources.read(), before);
}

}  // namespace
}  // namespace clonesafe::agent
