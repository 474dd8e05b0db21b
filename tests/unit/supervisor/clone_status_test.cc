#include "vmm_device/supervisor/clone_status.h"

#include <gmock/gmock.h>

namespace clonesafe::supervisor {
namespace {

using testing::HasSubstr;

std::string refusal(std::string_view line) {
  CloneStatus status(1, 1000);
  const auto taken = status.take(line);
  return taken ? "taken" : taken.error().message();
}

TEST(CloneStatus, RefusesLinesThatAreNoEvents) {
  for (const char* line : {"", "{", "[]", "null", "{\"event\":\"running\",\"at_us\":1000}x"})
    EXPECT_EQ(refusal(line), "not a JSON object") << line;
  EXPECT_EQ(refusal("{}"), "no text \"event\"");
  EXPECT_EQ(refusal(R"({"event":7})"), "no text \"event\"");
  EXPECT_EQ(refusal(R"({"event":"dance","at_us":1000})"), "event dance is unknown");
  EXPECT_EQ(refusal(R"({"event":"running"})"), "event running: no number \"at_us\"");
  EXPECT_EQ(refusal(R"({"event":"running","at_us":-1})"), "event running: no number \"at_us\"");
  EXPECT_EQ(refusal(R"({"event":"running","at_us":1.5})"), "event running: no number \"at_us\"");
  EXPECT_THAT(refusal(R"({"event":"running","at_us":999})"), HasSubstr("before the clone was"));
  EXPECT_EQ(refusal(R"({"event":"running","at_us":1000})"), "taken");
  EXPECT_EQ(refusal(R"({"event":"running","at_us":18446744073709551615})"), "taken");
}

TEST(CloneStatus, RefusesIdsAndReportsOfTheWrongShape) {
  EXPECT_THAT(refusal(R"({"event":"loaded","at_us":1000,"vm_generation_id":"00","generation":""})"),
              HasSubstr("vm_generation_id"));
  EXPECT_THAT(refusal(R"({"event":"loaded","at_us":1000,"generation":"00000000000000ff",)"
                      R"("vm_generation_id":"zz000000000000000000000000000000"})"),
              HasSubstr("vm_generation_id"));
  EXPECT_THAT(refusal(R"({"event":"loaded","at_us":1000,"generation":"ff",)"
                      R"("vm_generation_id":"00000000000000000000000000000000"})"),
              HasSubstr("generation"));
  EXPECT_THAT(refusal(R"({"event":"safe","at_us":1000,"state":"safe"})"), HasSubstr("repairs"));
  EXPECT_THAT(refusal(R"({"event":"safe","at_us":1000,"state":"fine","repairs":[]})"),
              HasSubstr("state fine"));
  EXPECT_THAT(refusal(R"({"event":"safe","at_us":1000,"state":"safe","repairs":[1]})"),
              HasSubstr("no object"));
  EXPECT_THAT(refusal(R"({"event":"safe","at_us":1000,"state":"safe","repairs":[{"name":"a"}]})"),
              HasSubstr("result"));
  EXPECT_THAT(
      refusal(R"({"event":"safe","at_us":1000,"state":"safe","repairs":[],"held_packets":1})"),
      HasSubstr("dropped_packets"));
  EXPECT_THAT(refusal(R"({"event":"ended","reason":"x"})"), HasSubstr("ok"));
}

TEST(CloneStatus, TakesEventsInAnyOrderAndNeverCountsBackwards) {
  CloneStatus status(4, 1000);
  ASSERT_TRUE(status.take(R"({"event":"first_exit","at_us":1300})"));
  ASSERT_TRUE(status.take(R"({"event":"running","at_us":1500})"));
  ASSERT_TRUE(status.take(R"({"event":"safe","at_us":1400,"state":"safe","repairs":[]})"));
  EXPECT_THAT(status.line(), HasSubstr("first_exit_us=300 safe_us=0"));
  EXPECT_TRUE(status.safe());
}

TEST(CloneStatus, HasAReasonThatTheProcessGaveBeforeOneThatTheKernelGave) {
  CloneStatus status(1, 0);
  ASSERT_TRUE(status.take(R"({"event":"ended","ok":false,"reason":"KVM_RUN: EFAULT"})"));
  status.end(false, "exited with status 1");
  EXPECT_EQ(status.reason(), "KVM_RUN: EFAULT");
  EXPECT_EQ(status.state(), "failed");
}

}  // namespace
}  // namespace clonesafe::supervisor
