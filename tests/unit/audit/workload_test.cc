#include "tests/audit/guest/workload.h"

#include <gmock/gmock.h>

namespace clonesafe::audit {
namespace {

TEST(ProbeList, NamesWarmUpAndCommand) {
  const auto probes = parse_probe_list("# comment\n\na.b  32  /bin/prog one two\nc 3 prog\n");
  ASSERT_TRUE(probes) << probes.error().message();
  ASSERT_EQ(probes->size(), 2U);
  EXPECT_EQ(probes->front().name, "a.b");
  EXPECT_EQ(probes->front().warm_draws, 32U);
  EXPECT_THAT(probes->front().command, testing::ElementsAre("/bin/prog", "one", "two"));
}

TEST(ProbeList, ABadLineIsNamed) {
  for (const char* text :
       {"a\n", "a b c\n", "a 32\n", "a 3x prog\n", "a/b 3 prog\n", "a 1 p\na 1 p\n", "\n"}) {
    EXPECT_FALSE(parse_probe_list(text)) << text;
  }
  EXPECT_THAT(parse_probe_list("a 1 p\nb\n").error().message(), testing::HasSubstr("line 2"));
  EXPECT_FALSE(parse_probe_list(std::string(64, 'n') + " 1 p\n"));
}

}  // namespace
}  // namespace clonesafe::audit
