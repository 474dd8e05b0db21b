// What an operator does with machines beside running them, and what their processes may do.
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>

#include "tests/lab/nested/confinement.h"
#include "tests/lab/nested/lab_vm.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

Outcome clonevm(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), Lab::get().clonevm);
  auto outcome = lab::run(arguments, Seconds(60));
  EXPECT_TRUE(outcome);
  return outcome.value_or(Outcome{});
}

json::object status_of(const fs::path& api) {
  const Outcome outcome = clonevm({"status", "--api", api.string()});
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  boost::system::error_code error;
  const auto status = json::parse(outcome.output, error);
  return status.is_object() ? status.get_object() : json::object{};
}

void write_key(const fs::path& path) {
  std::ofstream(path) << std::string(32, 'k');
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
}

TEST(OperationTest, MachinesAreConfinedAndAnswer) {
  const Scratch scratch;
  const auto source = scratch / "source";
  auto vm = BootedVm::boot(source, {.cmdline = "clonesafe.probes=off", .cpus = 2});
  ASSERT_TRUE(vm);
  auto status = status_of(source / "api");
  ASSERT_TRUE(status.contains("pid"));
  EXPECT_TRUE(status["jail"].at("lacks").as_array().empty()) << json::serialize(status);
  expect_confined(std::to_string(vm->process().pid()), source, 2);

  // What lies outside its root comes to it open: the directory, and the key.
  const auto key = (scratch / "key").string();
  write_key(key);
  auto taken = vm->guest().snapshot(scratch / "snapshot", {"--resume", "--key", key});
  ASSERT_TRUE(taken && taken->status == 0) << taken->output;
  const Outcome metrics = clonevm({"metrics", "--api", (source / "api").string()});
  EXPECT_NE(metrics.output.find("clonevm_snapshots_total{result=\"written\"} 1\n"),
            std::string::npos)
      << metrics.output;
  EXPECT_EQ(metrics.output.find("clonevm_exits_total{reason=\"port\"} 0\n"), std::string::npos);

  auto restored = Restored::restore(scratch / "snapshot", scratch / "clones", 2,
                                    {"--timeout", "110", "--wait", "running", "--key", key});
  ASSERT_TRUE(restored);
  for (const char* clone : {"1", "2"}) {
    const auto folder = scratch / "clones" / clone;
    status = status_of(folder / "api.sock");
    EXPECT_EQ(status["kind"].as_string(), "clone");
    expect_confined(json::serialize(status["pid"]), folder, 2);
  }
  EXPECT_EQ(status_field(fs::path("/proc") / std::to_string(restored->process().pid()), "Seccomp"),
            "2");

  const Outcome listed = clonevm({"ps", (scratch / "clones").string(), "--json"});
  EXPECT_NE(listed.output.find("clones/1/api.sock"), std::string::npos) << listed.output;
  EXPECT_NE(listed.output.find("clones/2/api.sock"), std::string::npos) << listed.output;
  // Clones end when they are asked to, and the restore with them.
  for (const char* clone : {"1", "2"}) {
    const auto api = scratch / "clones" / clone / "api.sock";
    const Outcome stopped = clonevm({"stop", "--api", api.string()});
    EXPECT_EQ(stopped.status, 0) << stopped.output;
    EXPECT_FALSE(fs::exists(api));
  }
  EXPECT_EQ(restored->process().wait(Seconds(30)).value_or(-1), 0);

  auto forked = Restored::fork(source / "api", scratch / "forks", 1,
                               {"--timeout", "110", "--wait", "running"});
  ASSERT_TRUE(forked);
  const auto fork = scratch / "forks/1";
  status = status_of(fork / "api.sock");
  expect_confined(json::serialize(status["pid"]), fork, 2);
  EXPECT_EQ(status_field(fs::path("/proc") / std::to_string(forked->process().pid()), "Seccomp"),
            "2");
  EXPECT_EQ(clonevm({"stop", "--api", (fork / "api.sock").string()}).status, 0);
  EXPECT_EQ(forked->process().wait(Seconds(30)).value_or(-1), 0);
  EXPECT_EQ(clonevm({"stop", "--api", (source / "api").string()}).status, 0);
}

}  // namespace
}  // namespace clonesafe::lab
