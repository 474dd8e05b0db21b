// What `clonevm restore` does for clones that do what they should, and what it refuses.
#include <sys/mman.h>
#include <sys/resource.h>

#include <boost/json.hpp>
#include <cstring>

#include "libclonesafe/base/mapping.h"
#include "tests/unit/supervisor/restore_fixture.h"
#include "vmm_device/snapshot/image.h"

namespace clonesafe::supervisor {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

TEST_F(Restore, PrintsALineForEachCloneInOrderOfTheirNumbers) {
  const std::array<Gate, 4> gates;  // the last clone is safe first
  gates[3].open();
  const int code = restore(options(3), [&](const CloneRequest& request, CloneEvents& events) {
    gates[request.index].pass();
    say_safe(request, events);
    gates[request.index - 1].open();
    return std::string("powered off");
  });
  EXPECT_EQ(code, 0) << err_.text();
  EXPECT_THAT(out_.lines(), ElementsAre(StartsWith("clone 1: "), StartsWith("clone 2: "),
                                        StartsWith("clone 3: ")));
  EXPECT_EQ(err_.text(), "");
}

TEST_F(Restore, ForkRunsClonesOfWhatItTakes) {
  auto image = snapshot::capture(guest_.request());
  ASSERT_TRUE(image);
  const auto take = [&]() -> Result<Taken> {
    auto snapshot = snapshot::read_image(image->state.get(), image->memory.get());
    if (!snapshot) return fail(snapshot.error());
    return Taken{.snapshot = std::move(*snapshot), .memory = std::move(image->memory)};
  };
  auto two = options(2);
  two.snapshot.clear();
  const int code = fork_command(
      two, take,
      [&](const CloneRequest& request, CloneEvents& events) -> Result<std::string> {
        if (request.snapshot->digest() != image->digest || request.move) return fail("not it");
        say_safe(request, events);
        return std::string("powered off");
      },
      out_.file(), err_.file());
  EXPECT_EQ(code, 0) << err_.text();
  EXPECT_THAT(out_.lines(), ElementsAre(StartsWith("clone 1: "), StartsWith("clone 2: ")));
}

TEST_F(Restore, ForkThatGetsNothingLeavesNothing) {
  const int code = fork_command(
      options(2), []() -> Result<Taken> { return fail("the machine is busy"); },
      [](const CloneRequest&, CloneEvents&) { return std::string(); }, out_.file(), err_.file());
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.lines(), ElementsAre("clonevm: fork: the machine is busy"));
  EXPECT_FALSE(std::filesystem::exists(run_dir()));
}

TEST_F(Restore, JsonHasTheMembersThatTheManualNames) {
  auto json = options(1);
  json.json = true;
  const int code = restore(json, [&](const CloneRequest& request, CloneEvents& events) {
    say_safe(request, events);
    ::kill(::getppid(), SIGTERM);
    wait_for_stop(request);
    return std::string("stopped");
  });
  EXPECT_EQ(code, 0) << err_.text();
  ASSERT_THAT(out_.lines(), SizeIs(1));
  EXPECT_EQ(
      out_.lines()[0],
      R"({"clone":1,"vm_generation_id":"abcd0000000000000000000000000000",)"
      R"("generation":"0000000000001235","restore_us":100,"first_exit_us":200,)"
      R"("safe_us":1000,"repairs":[{"name":"kernel_rng","result":"ok","us":12,"detail":""},)"
      R"({"name":"hostname","result":"skipped","us":0,"detail":"not set"}],)"
      R"("held_packets":null,"dropped_packets":null,"stale_packets":null,"held_streams":null,"held_flushes":null,"state":"safe","reason":null})");
}

TEST_F(Restore, TellsWhatAHeldNetworkDidToPackets) {
  auto json = options(1);
  json.json = true;
  restore(json, [&](const CloneRequest& request, CloneEvents& events) {
    say_running(request, events);
    events.safe(
        "safe", {}, monotonic_us(),
        HeldByClone{
            .packets = 3, .dropped_packets = 4, .stale_packets = 7, .streams = 5, .flushes = 6});
    return std::string("powered off");
  });
  EXPECT_THAT(
      out_.text(),
      HasSubstr(
          R"("held_packets":3,"dropped_packets":4,"stale_packets":7,"held_streams":5,"held_flushes":6)"));
}

TEST_F(Restore, GivesEachCloneTheFileOfItsNumber) {
  auto with_metadata = options(2);
  with_metadata.metadata = temporary_.path() / "metadata-%d";
  const std::string large(24'576, 'x');
  snapshot::write_file(temporary_.path() / "metadata-1", snapshot::bytes_of("first"));
  snapshot::write_file(temporary_.path() / "metadata-2", snapshot::bytes_of(large));
  const int code = restore(
      with_metadata, [&](const CloneRequest& request, CloneEvents& events) -> Result<std::string> {
        const std::string wanted = request.index == 1 ? "first" : large;
        if (!std::ranges::equal(request.metadata, snapshot::bytes_of(wanted)))
          return fail("wrong metadata");
        say_safe(request, events);
        return std::string("powered off");
      });
  EXPECT_EQ(code, 0) << err_.text();
}

TEST_F(Restore, GivesEachCloneItsFolderItsMemoryAndItsMetadata) {
  auto with_metadata = options(2);
  with_metadata.metadata = temporary_.path() / "metadata";
  snapshot::write_file(*with_metadata.metadata, snapshot::bytes_of("role=worker"));
  const auto image = guest_.image();
  const int code = restore(
      with_metadata, [&](const CloneRequest& request, CloneEvents& events) -> Result<std::string> {
        auto memory = Mapping::map("memory", image.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE,
                                   request.memory_fd);
        if (!memory || !std::ranges::equal(memory->bytes(), image)) return fail("wrong memory");
        memory->data()[0] ^= std::byte{1};  // its own copy: the sibling must not see it
        if (!std::ranges::equal(request.metadata, snapshot::bytes_of("role=worker")))
          return fail("wrong metadata");
        if (request.snapshot->count(snapshot::Tag::vcpu) != 2) return fail("wrong state");
        if (request.folder != run_dir() / std::to_string(request.index)) return fail("folder");
        if (request.serial_log != request.folder / "serial.log") return fail("serial log");
        rlimit core = {};
        if (::getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0) return fail("core dumps");
        std::fputs("a word for the log\n", stderr);
        say_safe(request, events);
        return std::string("powered off");
      });
  EXPECT_EQ(code, 0) << err_.text();
  const auto log = snapshot::read_file(run_dir() / "2" / "clone.log");
  EXPECT_EQ(log, snapshot::bytes_of("a word for the log\n"));
  const auto status = boost::json::parse(clone_json(2)).as_object();
  EXPECT_EQ(status.at("state"), "ended");
  EXPECT_EQ(status.at("reason"), "powered off");
  EXPECT_EQ(status.at("safe_us"), 1000);
}

TEST_F(Restore, DoesNotCallADegradedCloneSafe) {
  const int code = restore(options(1), [](const CloneRequest& request, CloneEvents& events) {
    say_running(request, events);
    events.safe("degraded",
                {{"machine_id", "ok", 5, ""}, {"kernel_rng", "failed", 7, "RNDRESEEDCRNG: EPERM"}});
    return std::string("powered off");
  });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.text(),
              HasSubstr("clone 1: degraded: kernel_rng failed (RNDRESEEDCRNG: EPERM)"));
  EXPECT_THAT(out_.text(), HasSubstr("safe_us=null repairs=machine_id:ok:5,kernel_rng:failed:7"));
}

TEST_F(Restore, KeepsAGuestsWordsFromTheTerminal) {
  const int code = restore(options(1), [](const CloneRequest& request, CloneEvents& events) {
    say_running(request, events);
    events.safe("safe", {{"\x1b[2J\xff", "ok", 1, "two\nlines"}});
    return std::string("off\x07");
  });
  EXPECT_EQ(code, 0) << err_.text();
  ASSERT_THAT(out_.lines(), SizeIs(1));
  EXPECT_THAT(out_.text(), HasSubstr("repairs=?[2J?:ok:1"));
}

TEST_F(Restore, TakesLinesThatArriveInPieces) {
  const int code = restore(options(1), [](const CloneRequest& request, CloneEvents& events) {
    say_running(request, events);
    std::vector<Repair> repairs(200, {"a_repair", "ok", 1, std::string(1000, 'd')});
    events.safe("safe", repairs);
    return std::string("powered off");
  });
  EXPECT_EQ(code, 0) << err_.text();
}

TEST_F(Restore, WaitsForTheAgentOnlyIfThereWasOne) {
  const auto run = [](const CloneRequest& request, CloneEvents& events) {
    say_running(request, events);
    return std::string("powered off");
  };
  auto automatic = options(1);
  automatic.wait = Wait::automatic;
  EXPECT_EQ(restore(automatic, run), 1);
  EXPECT_THAT(err_.text(), HasSubstr("ended before it was safe"));
  std::filesystem::remove_all(dir());
  std::filesystem::remove_all(run_dir());
  write_snapshot(false);
  EXPECT_EQ(restore(automatic, run), 0) << err_.text();
  EXPECT_THAT(out_.lines().back(), HasSubstr("first_exit_us=200 safe_us=null repairs=none"));
}

TEST_F(Restore, PrintsACloneThatRunsWithoutLeavingTheGuest) {
  auto running = options(1);
  running.wait = Wait::running;
  running.timeout = 10s;
  const int code = restore(running, [](const CloneRequest& request, CloneEvents& events) {
    events.loaded(kVmGenerationId, 7);
    events.running();
    // As long as the supervisor waits for a first exit, and then stop: there is none.
    pollfd fd{.fd = request.stop_fd, .events = POLLIN, .revents = 0};
    (void)::poll(&fd, 1, 300);
    return std::string("powered off");
  });
  EXPECT_EQ(code, 0) << err_.text();
  EXPECT_THAT(out_.text(), HasSubstr("first_exit_us=null safe_us=null"));
}

TEST_F(Restore, MovesASnapshotOnce) {
  auto move = options(1);
  move.move = true;
  const auto run = [](const CloneRequest& request, CloneEvents& events) -> Result<std::string> {
    if (!request.move) return fail("no move");
    say_safe(request, events);
    return std::string("powered off");
  };
  EXPECT_EQ(restore(move, run), 0) << err_.text();
  move.run_dir = temporary_.path() / "second";
  EXPECT_EQ(restore(move, run), 1);
  EXPECT_THAT(err_.text(), HasSubstr("was used up by a move"));
  EXPECT_FALSE(std::filesystem::exists(*move.run_dir));
}

TEST_F(Restore, RefusesWhatItCannotDoBeforeAnyCloneStarts) {
  const auto never = [](const CloneRequest&, CloneEvents&) -> Result<std::string> {
    return fail("a clone was started");
  };
  const auto refused = [&](const RestoreOptions& what, std::string_view says) {
    EXPECT_EQ(restore(what, never), 1);
    ASSERT_FALSE(err_.lines().empty());
    EXPECT_THAT(err_.lines().back(), HasSubstr(says));
    EXPECT_THAT(err_.lines().back(), StartsWith("clonevm: restore: "));
  };
  auto bad = options(0);
  refused(bad, "--count 0");
  bad = options(2);
  bad.move = true;
  refused(bad, "--count can only be 1");
  bad = options(1);
  bad.metadata = temporary_.path() / "none";
  refused(bad, "none: No such file");
  bad.metadata = temporary_.path() / "large";
  snapshot::write_file(*bad.metadata, std::vector<std::byte>(24'577));
  refused(bad, "large: more than 24576 bytes of metadata");
  // More than the page holds must be text that fits a line.
  snapshot::write_file(*bad.metadata, std::vector<std::byte>(3073, std::byte{0xff}));
  refused(bad, "large: more than 3072 bytes of metadata that are not UTF-8");
  snapshot::write_file(*bad.metadata, std::vector<std::byte>(24'576));
  refused(bad, "too many to be escaped");
  bad = options(2);
  bad.metadata = temporary_.path() / "one-%d";
  snapshot::write_file(temporary_.path() / "one-1", snapshot::bytes_of("first"));
  refused(bad, "one-2: No such file");
  bad = options(1);
  bad.run_dir = temporary_.path() / std::string(100, 'x');
  refused(bad, "too long for the Unix sockets in it");
  bad.run_dir = temporary_.path();
  refused(bad, "exists and is no empty directory");
  bad = options(1);
  bad.snapshot = temporary_.path() / "nowhere";
  refused(bad, "nowhere: No such file or directory");
  EXPECT_FALSE(std::filesystem::exists(run_dir()));
}

TEST_F(Restore, LeavesNothingOfADamagedSnapshot) {
  std::filesystem::resize_file(dir() / snapshot::kMemoryFile, 4096);
  auto move = options(1);
  move.move = true;
  const int code = restore(move, [](const CloneRequest&, CloneEvents&) -> Result<std::string> {
    return fail("a clone was started");
  });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.lines(), ElementsAre(HasSubstr("memory.img: 4096 bytes, the state file says")));
  EXPECT_FALSE(std::filesystem::exists(run_dir()));
  EXPECT_TRUE(std::filesystem::exists(dir() / snapshot::kStateFile));  // not used up
}

}  // namespace
}  // namespace clonesafe::supervisor
