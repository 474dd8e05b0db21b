#include "tests/audit/guest/workload.h"

#include <gmock/gmock.h>

namespace clonesafe::audit {
namespace {

TEST(ProbeList, NamesWarmUpAndCommand) {
  const auto probes = parse_probe_list("# comment\n\na.b  32  /bin/prog one two\nc 3 prog\n");
  ASSERT_TRUE(probes) << probes.error().message();
  ASSERT_EQ(probes->size(), 2U);
  EXPECT_EQ(probes->front().name, "a.b");
  EXPECT_THAT(probes->front().logs, testing::ElementsAre("a.b"));
  EXPECT_EQ(probes->front().warm_draws, 32U);
  EXPECT_THAT(probes->front().command, testing::ElementsAre("/bin/prog", "one", "two"));
}

TEST(ProbeList, SourcesAndThreadsHaveALogEachTheFirstThreadsFirst) {
  const auto probes = parse_probe_list("a,b*2 32 prog\nc*1 3 prog\nd,e 3 prog\n");
  ASSERT_TRUE(probes) << probes.error().message();
  EXPECT_THAT(probes->at(0).logs, testing::ElementsAre("a.1", "b.1", "a.2", "b.2"));
  EXPECT_THAT(probes->at(1).logs, testing::ElementsAre("c.1"));
  EXPECT_THAT(probes->at(2).logs, testing::ElementsAre("d", "e"));
}

TEST(ProbeList, ABadLineIsNamed) {
  for (const char* text : {"a\n", "a b c\n", "a 32\n", "a 3x prog\n", "a/b 3 prog\n",
                           "a 1 p\na 1 p\n", "a,a 1 p\n", "a*2 1 p\na.1 1 p\n", "a*0 1 p\n",
                           "a*65 1 p\n", "a* 1 p\n", "a*2x 1 p\n", "*2 1 p\n", ",a 1 p\n", "\n"}) {
    EXPECT_FALSE(parse_probe_list(text)) << text;
  }
  EXPECT_THAT(parse_probe_list("a 1 p\nb\n").error().message(), testing::HasSubstr("line 2"));
  EXPECT_FALSE(parse_probe_list(std::string(64, 'n') + " 1 p\n"));
  EXPECT_FALSE(parse_probe_list(std::string(62, 'n') + "*2 1 p\n"));
}

}  // namespace
}  // namespace clonesafe::audit
