#include "guest_agent/metrics/metrics.h"

#include <gmock/gmock.h>

#include <regex>
#include <set>
#include <sstream>

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

using testing::HasSubstr;
using testing::Not;

AgentStatus status_of(RestoreKind kind, std::uint64_t restores, std::uint64_t generation) {
  AgentStatus status{.kind = kind, .restores = restores};
  status.restore.generation = generation;
  return status;
}

std::string text_of(const AgentStatus& status, const SecretStatus& secrets = {}) {
  return metrics_text({.version = "1.2",
                       .kernel = "6.1.0",
                       .page_path = "/p",
                       .sources = {{.name = "vmgenid", .present = true}, {.name = "kmsg"}}},
                      status, secrets, RestoreCounts(status), true);
}

AgentStatus busy_status() {
  AgentStatus status = status_of(RestoreKind::kClone, 3, 9);
  status.state = CLONESAFE_STATE_DEGRADED;
  status.tier = CLONESAFE_TIER_WORD;
  status.repair_us = 1'234'567;
  status.repairs = {{.name = "kernel_rng", .outcome = Outcome::kOk, .us = 42},
                    {.name = "clock", .outcome = Outcome::kFailed, .us = 7, .detail = "no clock"},
                    {.name = "hostname", .outcome = Outcome::kSkipped}};
  return status;
}

TEST(AgentMetrics, EachSampleIsOfAFamilyThatIsDeclaredOnce) {
  std::set<std::string> declared;
  std::set<std::string> samples;
  std::istringstream lines(text_of(busy_status()));
  const std::regex sample(
      R"re((clonesafed_[a-z_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9]+(\.[0-9]+)?)re");
  for (std::string line; std::getline(lines, line);) {
    std::smatch parts;
    if (line.starts_with("# TYPE ")) {
      const std::string name = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(declared.insert(name).second) << line;
      EXPECT_EQ(line.ends_with(" counter"), name.ends_with("_total")) << line;
    } else if (!line.starts_with("# HELP ")) {
      ASSERT_TRUE(std::regex_match(line, parts, sample)) << line;
      EXPECT_TRUE(declared.contains(parts[1])) << line;
      EXPECT_TRUE(samples.insert(line.substr(0, line.rfind(' '))).second) << line;
    }
  }
  EXPECT_GT(declared.size(), 10u);
}

TEST(AgentMetrics, HasTheFiguresOfTheAgent) {
  const std::string text = text_of(busy_status(), {.pages = 5, .host_covers = true});
  EXPECT_THAT(text, HasSubstr("clonesafed_agent_info{version=\"1.2\",kernel=\"6.1.0\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_state{state=\"degraded\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_state{state=\"safe\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_tier{tier=\"word\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_tier{tier=\"lagging\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_repair_seconds 1.234567\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_repair_step_seconds{repair=\"kernel_rng\"} 0.000042\n"));
  EXPECT_THAT(text,
              HasSubstr("clonesafed_repair_step_result{repair=\"clock\",result=\"failed\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_repair_step_result{repair=\"clock\",result=\"ok\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_source_present{source=\"vmgenid\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_source_present{source=\"kmsg\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_polling 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_secret_pages 5\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_secret_pages_covered 1\n"));
  EXPECT_THAT(text, HasSubstr("clonesafed_host_connected 0\n"));
}

TEST(AgentMetrics, TellsNoIdAndNothingThatWasSaid) {
  AgentStatus status = busy_status();
  status.restore.restore_id = id(0xab);
  status.restore.vm_generation_id = id(0xcd);
  status.restore.generation = 0xfeedfacecafebeef;
  status.host = "a host";
  status.registration_error = "refused so";
  status.woken_by = "poll";
  const std::string text = text_of(status, {.problem = "no pin"});
  for (const char* const word : {"abab", "cdcd", "feedface", "18369614221190020847", "a host",
                                 "refused", "no clock", "no pin"})
    EXPECT_THAT(text, Not(HasSubstr(word)));
}

TEST(AgentMetrics, TwoResultsOfOneNameAreOneSample) {
  AgentStatus status;
  status.repairs = {{.name = "hook", .outcome = Outcome::kFailed, .us = 1},
                    {.name = "hook", .outcome = Outcome::kOk, .us = 2}};
  const std::string text = text_of(status);
  EXPECT_THAT(text, HasSubstr("{repair=\"hook\",result=\"failed\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("{repair=\"hook\",result=\"ok\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("step_seconds{repair=\"hook\"} 0.000003\n"));
}

TEST(AgentMetrics, RestoresAreCountedByKind) {
  RestoreCounts counts(status_of(RestoreKind::kBoot, 0, 1));
  counts.look(status_of(RestoreKind::kBoot, 0, 1));
  counts.look(status_of(RestoreKind::kClone, 1, 2));
  counts.look(status_of(RestoreKind::kClone, 1, 2));
  counts.look(status_of(RestoreKind::kResume, 2, 2));
  counts.look(status_of(RestoreKind::kClone, 3, 3));
  EXPECT_EQ(counts.of(RestoreKind::kBoot), 0u);
  EXPECT_EQ(counts.of(RestoreKind::kClone), 2u);
  EXPECT_EQ(counts.of(RestoreKind::kResume), 1u);
  EXPECT_EQ(counts.of(RestoreKind::kMove), 0u);
  EXPECT_EQ(counts.generation_changes(), 2u);
}

}  // namespace
}  // namespace clonesafe::agent
