// Whether a proxy starts where a clone is noticed late, or not at all.
#include "clonesafe/clonesafe.h"
#include "tests/unit/proxy/program_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;

constexpr const char* kTls = "[service.upstream.tls]\nserver_name = \"test.example\"";

class TierTest : public ProgramTest {
 protected:
  ~TierTest() override { set_tier_of_this_machine(CS_TIER_WORD); }

  // What a proxy that must not serve ends with.
  std::string refusal(const std::string& service) {
    write("", service);
    auto program = Program::make(load_config(file()).value());
    if (!program) return program.error().message();
    const Status ended = (*program)->run();
    return ended ? "it served" : ended.error().message();
  }
  void expect_served(const std::string& service) {
    start("", service);
    end();
  }
};

TEST_F(TierTest, TlsToAnUpstreamTakesAClonesFirstInstructionOrAnAnnouncement) {
  set_tier_of_this_machine(CS_TIER_LAGGING);
  EXPECT_THAT(refusal(kTls), HasSubstr("service 'test': TLS to an upstream, and a clone is noticed "
                                       "only some time after its start"));
  set_tier_of_this_machine(CS_TIER_NONE);
  EXPECT_THAT(refusal(kTls), HasSubstr("nothing here tells of a clone"));
  set_tier_of_this_machine(CS_TIER_ANNOUNCED);
  expect_served(kTls);
}

TEST_F(TierTest, WhoeverSaysSoTakesTheWindow) {
  set_tier_of_this_machine(CS_TIER_LAGGING);
  expect_served(std::string("allow_window = true\n") + kTls);
}

TEST_F(TierTest, PlainTcpAndTlsWithinTheMachineAreServedAnywhere) {
  set_tier_of_this_machine(CS_TIER_LAGGING);
  expect_served("");
  expect_served("[[service]]\nname = \"here\"\nlisten = [\"unix:" + (folder_ / "here.sock") +
                "\"]\nupstream.address = [\"127.0.0.1:1\"]\n" + kTls);
}

TEST_F(TierTest, WhereItConnectsToAnybodyThatIsNotThisMachine) {
  set_tier_of_this_machine(CS_TIER_LAGGING);
  EXPECT_THAT(refusal("[[service]]\nname = \"all\"\nlisten = [\"127.0.0.1:1\"]\n"
                      "transparent = \"redirect\"\ndestinations = [\"10.0.0.0/8\"]\n"
                      "upstream.mark = 1\n" +
                      std::string(kTls)),
              HasSubstr("service 'all': TLS to an upstream"));
}

// A reload can't bring in what a start refuses.
TEST_F(TierTest, ReloadIsRefusedToo) {
  set_tier_of_this_machine(CS_TIER_LAGGING);
  start();
  write("", kTls);
  const auto answer = ask({{"call", "reload"}});
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message(), HasSubstr("service 'test': TLS to an upstream"));
  const auto [application, upstream] = session();
}

}  // namespace
}  // namespace clonesafe::proxy
