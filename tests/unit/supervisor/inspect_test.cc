#include <gmock/gmock.h>

#include <boost/json.hpp>

#include "tests/unit/supervisor/fixture.h"

namespace clonesafe::supervisor {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Inspect : public SupervisorTest {
 protected:
  void SetUp() override { write_snapshot(); }
};
using Verify = Inspect;

TEST_F(Inspect, PrintsATableForPeople) {
  EXPECT_EQ(inspect_command(dir(), false, out_.file(), err_.file()), 0);
  const std::string text = out_.text();
  EXPECT_THAT(text, HasSubstr("format        1.0\n"));
  EXPECT_THAT(text, HasSubstr("parent        none\n"));
  EXPECT_THAT(text, HasSubstr("memory        136 KiB, "));
  EXPECT_THAT(text, HasSubstr("vcpus         2\n"));
  EXPECT_THAT(text, HasSubstr("agent         was connected\n"));
  EXPECT_THAT(text, HasSubstr("region        0x0000000100000000  56 KiB\n"));
  EXPECT_THAT(text,
              HasSubstr("section       serial port             version 1, 0 bytes, not critical"));
}

TEST_F(Inspect, PrintsOneJsonObject) {
  EXPECT_EQ(inspect_command(dir(), true, out_.file(), err_.file()), 0);
  const auto object = boost::json::parse(out_.text()).as_object();
  EXPECT_EQ(object.at("format"), "1.0");
  EXPECT_EQ(object.at("memory_bytes"), 139264);
  EXPECT_TRUE(object.at("parent").is_null());
  EXPECT_EQ(object.at("vcpus"), 2);
  EXPECT_EQ(object.at("sections").as_array().size(), 6u);
}

TEST_F(Inspect, RefusesADamagedStateFile) {
  std::filesystem::resize_file(dir() / snapshot::kStateFile, 5000 - 700);
  EXPECT_EQ(inspect_command(dir(), true, out_.file(), err_.file()), 1);
  EXPECT_EQ(out_.text(), "");
  EXPECT_THAT(err_.lines(), ElementsAre(HasSubstr("clonevm: inspect: ")));
}

TEST_F(Verify, SaysThatAllIsAsItWasWritten) {
  EXPECT_EQ(verify_command(dir(), false, out_.file(), err_.file()), 0);
  EXPECT_THAT(out_.lines(), ElementsAre(HasSubstr("as it was written (136 KiB of memory")));
}

TEST_F(Verify, SaysWhatIsDamaged) {
  {
    std::fstream memory(dir() / snapshot::kMemoryFile);
    memory.seekp(70000);
    memory.put('x');
  }
  EXPECT_EQ(verify_command(dir(), true, out_.file(), err_.file()), 1);
  const auto object = boost::json::parse(out_.text()).as_object();
  EXPECT_EQ(object.at("ok"), false);
  EXPECT_THAT(err_.lines(), ElementsAre(HasSubstr("checksum mismatch in chunk 1, offset 65536")));
}

}  // namespace
}  // namespace clonesafe::supervisor
