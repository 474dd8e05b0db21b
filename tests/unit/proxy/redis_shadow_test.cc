// What a session's state keeps of a password, and until when.
#include "proxy/protocols/redis/shadow.h"

#include <optional>

#include "tests/unit/proxy/process_memory.h"

namespace clonesafe::proxy::redis {
namespace {

class RedisShadowTest : public testing::Test {
 protected:
  RedisShadowTest() {
    std::vector<std::string> arguments = {"AUTH"};
    arguments.push_back(long_secret());
    shadow_->done(wire::resp::Command::kAuth, arguments);
    wipe(arguments[1]);
    EXPECT_TRUE(is_left_of_long_secret()) << "it was not searched";
  }
  std::optional<Shadow> shadow_ = std::optional<Shadow>(std::in_place);
};

TEST_F(RedisShadowTest, WipesAPasswordAtItsEnd) {
  shadow_.reset();
  EXPECT_FALSE(is_left_of_long_secret());
}

TEST_F(RedisShadowTest, WipesAPasswordThatAnotherTookThePlaceOf) {
  shadow_->done(wire::resp::Command::kAuth, {"AUTH", "user", "another"});
  EXPECT_FALSE(is_left_of_long_secret());
}

TEST_F(RedisShadowTest, WipesAPasswordThatWasReset) {
  shadow_->done(wire::resp::Command::kReset, {"RESET"});
  EXPECT_FALSE(is_left_of_long_secret());
}

}  // namespace
}  // namespace clonesafe::proxy::redis
