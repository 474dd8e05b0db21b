#include "libclonesafe/hooks/agent_line.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "clonesafe/hooks.h"

namespace clonesafe::hooks {
namespace {

using What = AgentLine::What;

bool read(const std::string& text, AgentLine& line) {
  return read_agent_line(text.data(), text.size(), line);
}

TEST(AgentLineTest, Events) {
  AgentLine line;
  ASSERT_TRUE(read(R"({"event":"restored","id":"12","cause":"clone","generation":"1f",)"
                   R"("reseed_epoch":"3","restore_id":"000102030405060708090a0b0c0d0e0F"})",
                   line));
  EXPECT_EQ(line.what, What::kRestored);
  EXPECT_STREQ(line.id, "12");
  EXPECT_EQ(line.kind, CS_KIND_CLONE);
  EXPECT_EQ(line.generation, 0x1fu);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(line.restore_id[i], i);
  ASSERT_TRUE(read(R"( { "id" : "3" , "event" : "before_snapshot" } )", line));
  EXPECT_EQ(line.what, What::kBeforeSnapshot);
  EXPECT_EQ(line.kind, 0u);
  ASSERT_TRUE(read(R"({"event":"undone","id":"4","cause":"undone"})", line));
  EXPECT_EQ(line.what, What::kUndone);
  ASSERT_TRUE(read(R"({"event":"state","state":"safe"})", line));
  EXPECT_EQ(line.what, What::kOther);
}

TEST(AgentLineTest, Answers) {
  AgentLine line;
  ASSERT_TRUE(read(R"({"watching":true})", line));
  EXPECT_EQ(line.what, What::kWatching);
  ASSERT_TRUE(read(R"({"error":"only root, \"or\" the group"})", line));
  EXPECT_EQ(line.what, What::kRefused);
  ASSERT_TRUE(
      read(R"({"state":"safe","error":"x","tier":"word","generation":"20","kind":"move",)"
           R"("repairs":[{"name":"a]}","restore_id":"00"}],"page":{"error":""},"polls":false})",
           line));
  EXPECT_EQ(line.what, What::kStatus);
  EXPECT_EQ(line.kind, CS_KIND_MOVE);
  EXPECT_EQ(line.generation, 0x20u);
  ASSERT_TRUE(read("{}", line));
  EXPECT_EQ(line.what, What::kOther);
}

TEST(AgentLineTest, WhatIsNoLineOfTheAgents) {
  AgentLine line;
  for (const char* text :
       {"", "[]", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\":1} x", "{\"a\":\"b}",
        "{\"a\":\"\\", "{\"event\":\"restored\"}", "{\"event\":\"restored\",\"id\":\"\"}",
        "{\"event\":\"restored\",\"id\":\"a\\\"b\"}", "{\"event\":\"undone\",\"id\":\"a b\"}",
        "{\"event\":\"undone\",\"id\":\"123456789012345678901234\"}", "{\"a\":[[[[[[[[[]]]]]]]]]}",
        "{\"a\":1 \"b\":2}", "{\"a\":[1}"})
    EXPECT_FALSE(read(text, line)) << text;
  ASSERT_TRUE(read(R"({"generation":"12345678901234567","restore_id":"zz","kind":7})", line));
  EXPECT_EQ(line.generation, 0u);
}

}  // namespace
}  // namespace clonesafe::hooks
