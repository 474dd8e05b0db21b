#include "tests/audit/report/compare.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <boost/json.hpp>
#include <sstream>

namespace clonesafe::audit {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

AuditResult make_run(const std::string& mode, std::uint64_t library, std::uint64_t stock,
                     std::uint64_t hook) {
  return {
      .label = mode,
      .vmm = "clonevm",
      .kernel = "6.12",
      .mode = mode,
      .cpu_mask = "",
      .clones = 4,
      .probes = {{.name = "library.random",
                  .samples = 100,
                  .duplicates = library,
                  .tier = mode == "without" ? "none" : "word"},
                 {.name = "python.uuid4", .samples = 90, .duplicates = stock, .window_us = 1500},
                 {.name = "python.random", .samples = 80, .duplicates = hook}},
      .restores = {
          {.clone = 1, .restore_us = 2000, .first_exit_us = 2500, .safe_us = 9000},
          {.clone = 2, .restore_us = 4000, .first_exit_us = 4500, .safe_us = std::nullopt}}};
}

TEST(Compare, PromisesHoldWhenOnlyWhatIsPromisedIsFreeOfDuplicates) {
  const std::vector runs = {make_run("without", 5, 7, 9), make_run("unannounced", 0, 3, 9),
                            make_run("announced", 0, 0, 9)};
  const auto report = make_report(runs);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_THAT(report->failures, IsEmpty());
  EXPECT_EQ(summary_line(*report),
            "clonesafe demo: 4 clones, 2 probes, 12 duplicated values without, 0 with; restore p50 "
            "2.00 ms, safe p50 9.00 ms");
  EXPECT_THAT(report_table(*report, {}),
              HasSubstr("Before they knew, unannounced clones repeated 3 values"));
}

TEST(Compare, ADuplicateOfTierWordFailsUnannounced) {
  const std::vector runs = {make_run("without", 5, 7, 9), make_run("unannounced", 1, 0, 0)};
  const auto report = make_report(runs);
  ASSERT_TRUE(report);
  EXPECT_THAT(report->failures, ElementsAre(HasSubstr("unannounced: library.random repeated 1")));
}

TEST(Compare, AnyCountedDuplicateFailsAnnounced) {
  const std::vector runs = {make_run("without", 5, 7, 9), make_run("announced", 0, 1, 9)};
  const auto report = make_report(runs);
  ASSERT_TRUE(report);
  EXPECT_THAT(report->failures, ElementsAre(HasSubstr("announced: python.uuid4 repeated 1")));
}

TEST(Compare, ARunWithoutClonesafeThatRepeatsNothingProvesNothing) {
  // The probes that need a hook don't count here either.
  const std::vector runs = {make_run("without", 0, 0, 9), make_run("announced", 0, 0, 9)};
  const auto report = make_report(runs);
  ASSERT_TRUE(report);
  EXPECT_THAT(report->failures, ElementsAre(HasSubstr("proves nothing")));
}

TEST(Compare, RunsThatDontBelongTogetherAreRefused) {
  auto other = make_run("announced", 0, 0, 0);
  other.kernel = "6.1";
  EXPECT_FALSE(make_report({make_run("without", 1, 1, 1), other}));
  EXPECT_FALSE(make_report({make_run("without", 1, 1, 1), make_run("without", 1, 1, 1)}));
  EXPECT_FALSE(make_report({}));
}

// The members of a JSON object, in order, as one text.
std::string members(const json::value& value) {
  std::string names;
  for (const auto& member : value.as_object()) {
    names += (names.empty() ? "" : " ") + std::string(member.key());
  }
  return names;
}

TEST(Compare, JsonHasExactlyTheFieldsThatScriptsRelyOn) {
  const std::vector runs = {make_run("without", 5, 7, 9), make_run("unannounced", 0, 3, 9),
                            make_run("announced", 0, 0, 9)};
  const auto report = make_report(runs);
  ASSERT_TRUE(report);
  const json::value value = json::parse(report_json(*report));
  EXPECT_EQ(members(value), "kernel clones probes restore_us first_exit_us safe_us");
  EXPECT_EQ(value.at("kernel"), "6.12");
  EXPECT_EQ(value.at("clones"), 4);
  for (const json::value& probe : value.at("probes").as_array()) {
    EXPECT_EQ(members(probe), "name without with unannounced tier needs_hook");
    EXPECT_EQ(members(probe.at("without")), "duplicates samples");
    EXPECT_EQ(members(probe.at("with")), "duplicates samples");
    EXPECT_EQ(members(probe.at("unannounced")), "duplicates samples window_us");
  }
  for (const char* time : {"restore_us", "first_exit_us", "safe_us"}) {
    EXPECT_EQ(members(value.at(time)), "p50 p99");
  }
  const json::value& stock = value.at("probes").at(2);
  EXPECT_EQ(stock.at("name"), "python.uuid4");
  EXPECT_EQ(stock.at("without").at("duplicates"), 7);
  EXPECT_EQ(stock.at("without").at("samples"), 90);
  EXPECT_EQ(stock.at("with").at("duplicates"), 0);
  EXPECT_EQ(stock.at("unannounced").at("window_us"), 1500);
  EXPECT_EQ(stock.at("tier"), "lagging");
  EXPECT_EQ(stock.at("needs_hook"), false);
  const json::value& hook = value.at("probes").at(1);
  EXPECT_EQ(hook.at("needs_hook"), true);
  EXPECT_EQ(hook.at("tier"), "none");
  EXPECT_EQ(value.at("restore_us").at("p99"), 4000);
  EXPECT_EQ(value.at("safe_us").at("p50"), 9000);
}

TEST(Compare, JsonAddsTheRunsOfOneModeUp) {
  auto masked = make_run("without", 6, 6, 6);
  masked.cpu_mask = "rdrand,rdseed";
  const std::vector runs = {make_run("without", 5, 7, 9), masked};
  const auto both = make_report(runs);
  ASSERT_TRUE(both);
  const json::value probe = json::parse(report_json(*both)).at("probes").at(2);
  EXPECT_EQ(probe.at("without").at("duplicates"), 13);
  EXPECT_EQ(probe.at("without").at("samples"), 180);
  EXPECT_TRUE(probe.at("with").is_null());
}

TEST(Compare, AMachineWithoutAnAgentIsNeverSafe) {
  auto run = make_run("announced", 0, 0, 0);
  for (RestoreTimes& times : run.restores) times.safe_us = std::nullopt;
  const std::vector runs = {run};
  const auto report = make_report(runs);
  ASSERT_TRUE(report);
  EXPECT_TRUE(json::parse(report_json(*report)).at("safe_us").is_null());
  EXPECT_THAT(summary_line(*report), HasSubstr("safe p50 - ms"));
}

std::size_t widest(const std::string& text) {
  std::size_t width = 0;
  std::istringstream lines(text.substr(text.find("\n\n")));  // without what stands above
  for (std::string line; std::getline(lines, line);) width = std::max(width, line.size());
  return width;
}

TEST(Compare, TheTableTakesTheWidthThatThereIs) {
  const std::vector runs = {make_run("without", 5, 7, 9), make_run("unannounced", 0, 3, 9),
                            make_run("announced", 0, 0, 9)};
  const auto report = make_report(runs);
  ASSERT_TRUE(report);
  EXPECT_THAT(report_table(*report), HasSubstr("3 of 90 (1.50 ms)"));
  const std::string narrower = report_table(*report, {.width = 70});
  EXPECT_THAT(narrower, HasSubstr("3 of 90  "));
  EXPECT_LE(widest(narrower), 70U);
  EXPECT_THAT(report_table(*report, {.width = 60}), HasSubstr("3/90"));
}

TEST(Compare, ColourIsAskedFor) {
  const std::vector runs = {make_run("without", 5, 7, 9), make_run("announced", 0, 0, 9)};
  const auto report = make_report(runs);
  ASSERT_TRUE(report);
  EXPECT_THAT(report_table(*report), testing::Not(HasSubstr("\033")));
  const std::string table = report_table(*report, {.colour = true});
  EXPECT_THAT(table, HasSubstr("\033[31m5 of 100\033[0m"));
  EXPECT_THAT(table, HasSubstr("\033[32m0 of 100\033[0m"));
  EXPECT_THAT(table, HasSubstr("\033[33m9 of 80\033[0m"));
}

TEST(Compare, TheGuestsTextCannotBecomeMarkup) {
  auto run = make_run("without", 5, 7, 9);
  run.probes.front().name = "<script>";
  const std::vector runs = {run};
  const auto report = make_report(runs);
  ASSERT_TRUE(report);
  EXPECT_THAT(report_html(*report), testing::Not(HasSubstr("<script>")));
  EXPECT_THAT(report_html(*report), HasSubstr("&lt;script&gt;"));
}

TEST(Compare, AResultIsLoadedAsItWasWrittenAndDamageIsRefused) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "audit-result";
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& text) {
    FILE* file = std::fopen((folder / "result.json").c_str(), "w");
    std::fputs(text.c_str(), file);
    std::fclose(file);
  };
  const std::string text = to_json(make_run("announced", 1, 2, 3));
  write(text);
  const auto loaded = load_result(folder);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(to_json(*loaded), text);
  write(text.substr(0, text.size() / 2));
  EXPECT_FALSE(load_result(folder));
  write("{}");
  EXPECT_FALSE(load_result(folder));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace clonesafe::audit
