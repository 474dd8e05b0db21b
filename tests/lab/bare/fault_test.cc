// kill -9 and a full disk at every step of snapshot, merge, restore and fork: what was there before
// stays whole, no process is left, and the same command works right after. fault_at.c is the fault;
// each test goes on to the next step until the command comes through unharmed.
#include <signal.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <thread>

#include "tests/lab/bare/bare_vm.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
constexpr int kMostSteps = 400;

class FaultTest : public BareTest, public testing::WithParamInterface<const char*> {
 protected:
  FaultTest() { adopt_orphans(); }
  static bool killing() { return std::string_view(GetParam()) == "kill"; }
  // The environment of a program whose `step`th step is the fault; none counts while `armed` is
  // empty, if that is given.
  std::vector<std::string> faulty(int step, const fs::path& armed = {}) const {
    fs::remove(path("came"));
    const char* library = std::getenv("CLONESAFE_LAB_FAULT_AT");  // NOLINT(concurrency-mt-unsafe)
    if (library == nullptr) ADD_FAILURE() << "the environment lacks CLONESAFE_LAB_FAULT_AT";
    std::vector<std::string> environment = {std::string("LD_PRELOAD=") + (library ? library : ""),
                                            "CLONESAFE_FAULT_AT=" + std::to_string(step),
                                            std::string("CLONESAFE_FAULT=") + GetParam(),
                                            "CLONESAFE_FAULT_CAME=" + path("came").string()};
    if (!armed.empty()) environment.push_back("CLONESAFE_FAULT_ARM=" + armed.string());
    return environment;
  }
  void make_a_clone(std::vector<std::string> command, int step) const;
  bool came() const { return !read_file(path("came")).empty(); }
  Outcome clonevm(std::vector<std::string> arguments,
                  const std::vector<std::string>& environment = {}) const {
    arguments.insert(arguments.begin(), Lab::get().clonevm);
    if (!environment.empty()) {
      arguments.insert(arguments.begin(), environment.begin(), environment.end());
      arguments.insert(arguments.begin(), "env");
    }
    auto outcome = run(arguments, Seconds(60));
    if (!outcome) ADD_FAILURE() << outcome.error().message();
    return outcome ? *outcome : Outcome{};
  }
  void expect_whole(const fs::path& snapshot) const {
    const Outcome outcome = clonevm({"verify", snapshot.string()});
    EXPECT_EQ(outcome.status, 0) << outcome.output;
  }
  // Whole, or not there at all.
  void expect_whole_or_none(const fs::path& snapshot) const {
    if (fs::exists(snapshot)) expect_whole(snapshot);
  }
  // How a command must end that met the fault.
  static void expect_failed(const Outcome& outcome) {
    if (killing() && outcome.status == 128 + SIGKILL) return;
    EXPECT_GE(outcome.status, 1) << outcome.output;
    EXPECT_LE(outcome.status, 125) << outcome.output;
    if (killing()) return;
    EXPECT_NE(outcome.output.find("No space left on device"), std::string::npos) << outcome.output;
    // Besides its line for each clone, if it came so far.
    const std::string error = "clonevm: ";
    const auto first = outcome.output.find(error);
    EXPECT_NE(first, std::string::npos) << outcome.output;
    EXPECT_EQ(outcome.output.find("\n" + error, first), std::string::npos) << outcome.output;
  }
  // Nothing runs but what ran before; those that died meanwhile and became ours are buried.
  static void expect_only(const std::vector<pid_t>& before) {
    EXPECT_TRUE(eventually(Seconds(30), [&] {
      const auto now = children();
      for (const pid_t pid : now)
        if (!std::ranges::binary_search(before, pid)) waitpid(pid, nullptr, WNOHANG);
      return children() == before;
    })) << "a process was left behind";
  }
  // Calls `attempt` with later and later steps until the fault doesn't come any more.
  void at_every_step(const std::function<void(int)>& attempt) const {
    const char* every = std::getenv("CLONESAFE_LAB_EVERY");  // NOLINT(concurrency-mt-unsafe)
    const int stride = every != nullptr ? 1 : 5;
    int faults = 0;
    for (int step = 1; step < kMostSteps; step += stride, ++faults) {
      SCOPED_TRACE(std::string(GetParam()) + " at step " + std::to_string(step));
      attempt(step);
      if (HasFailure() || !came()) break;
    }
    EXPECT_GE(faults, 2) << "the fault hardly came";
    EXPECT_FALSE(came()) << "it never comes through";
    std::printf("%d faults\n", faults);
  }
};

TEST_P(FaultTest, OfTheMachineThatWritesASnapshot) {
  auto vm = BareVm::start(path("first"));
  ASSERT_TRUE(vm);
  fs::create_directory(path("out"));
  snapshot(vm->api(), path("out/before"), {"--stop"});
  vm.reset();
  at_every_step([&](int step) {
    const fs::path armed = path("armed");
    auto source = BareVm::start(path("source"), {}, faulty(step, armed));
    ASSERT_TRUE(source);
    std::ofstream(armed).put('!');
    const Outcome outcome = clonevm({"snapshot", "--api", source->api().string(), "--out",
                                     path("out/new").string(), "--resume"});
    if (came() && killing()) {
      EXPECT_LE(outcome.status, 125) << outcome.output;
    }
    if (came() && !killing()) {
      expect_failed(outcome);
      EXPECT_EQ(names_in(path("out")), (std::set<std::string>{"before"}));
      const auto sent = fs::file_size(source->sent());
      EXPECT_TRUE(eventually(Seconds(30), [&] { return fs::file_size(source->sent()) > sent; }))
          << "the guest did not go on";
    }
    fs::resize_file(armed, 0);
    expect_whole(path("out/before"));
    expect_whole_or_none(path("out/new"));
    fs::remove_all(path("out/new"));
    source.reset();
    fs::remove_all(path("source"));
    expect_only({});
    // The next writer takes away what a killed one left.
    auto next = BareVm::start(path("next"));
    ASSERT_TRUE(next);
    snapshot(next->api(), path("out/new"), {"--stop"});
    EXPECT_EQ(names_in(path("out")), (std::set<std::string>{"before", "new"}));
    fs::remove_all(path("out/new"));
    fs::remove_all(path("next"));
  });
}

TEST_P(FaultTest, OfAMerge) {
  auto vm = BareVm::start(path("source"), {"--track-dirty"});
  ASSERT_TRUE(vm);
  fs::create_directory(path("out"));
  snapshot(vm->api(), path("out/base"), {"--resume"});
  snapshot(vm->api(), path("out/layer"), {"--diff", path("out/base").string(), "--stop"});
  vm.reset();
  const std::vector<std::string> merge = {"merge", path("out/layer").string(), "--out",
                                          path("out/merged").string()};
  at_every_step([&](int step) {
    const Outcome outcome = clonevm(merge, faulty(step));
    if (came()) expect_failed(outcome);
    if (came() && !killing()) {
      EXPECT_EQ(names_in(path("out")), (std::set<std::string>{"base", "layer"}));
    }
    expect_whole(path("out/base"));
    expect_whole(path("out/layer"));
    expect_whole_or_none(path("out/merged"));
    fs::remove_all(path("out/merged"));
    const Outcome again = clonevm(merge);
    EXPECT_EQ(again.status, 0) << again.output;
    EXPECT_EQ(names_in(path("out")), (std::set<std::string>{"base", "layer", "merged"}));
    fs::remove_all(path("out/merged"));
  });
}

// Stops clone 1 once it runs, so that the command that holds it comes to its end; gives up when
// told to.
class Stopper {
 public:
  explicit Stopper(fs::path run_dir)
      : thread_([this, run_dir = std::move(run_dir)] {
          while (!done_) {
            std::error_code none;
            if (fs::file_size(sent_by(run_dir, 1), none) >= 24 && !none) {
              (void)run({Lab::get().clonevm, "stop", "--api", (run_dir / "1/api.sock").string()},
                        Seconds(30));
              return;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
          }
        }) {}
  ~Stopper() {
    done_ = true;
    thread_.join();
  }
  Stopper(const Stopper&) = delete;
  Stopper& operator=(const Stopper&) = delete;

 private:
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

// Runs a command that makes clone 1, with the fault, to its end.
void FaultTest::make_a_clone(std::vector<std::string> command, int step) const {
  command.insert(command.end(), {"--run-dir", path("clones").string(), "--wait", "running"});
  Outcome outcome;
  {
    const Stopper stopper(path("clones"));
    outcome = clonevm(command, faulty(step));
  }
  // A clone runs without its log, so a full disk needn't end it.
  if (outcome.status != 0)
    expect_failed(outcome);
  else
    EXPECT_TRUE(!came() || !killing()) << "nobody noticed";
}

TEST_P(FaultTest, OfARestore) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  snapshot(vm->api(), path("snapshot"), {"--stop"});
  vm.reset();
  expect_only({});
  at_every_step([&](int step) {
    make_a_clone({"restore", path("snapshot").string()}, step);
    expect_only({});
    expect_whole(path("snapshot"));
    fs::remove_all(path("clones"));
  });
  auto clones = restore(path("snapshot"), "after", 1);
  ASSERT_TRUE(clones);
  expect_sends_only(sent_by(path("after"), 1), generation(*clones, 1));
}

TEST_P(FaultTest, OfTheCommandThatForks) {
  auto vm = BareVm::start(path("source"));
  ASSERT_TRUE(vm);
  const auto before = children();
  at_every_step([&](int step) {
    make_a_clone({"fork", "--api", vm->api().string()}, step);
    expect_only(before);
    const auto sent = fs::file_size(vm->sent());
    EXPECT_TRUE(eventually(Seconds(30), [&] { return fs::file_size(vm->sent()) > sent; }))
        << "the source did not go on";
    fs::remove_all(path("clones"));
  });
}

INSTANTIATE_TEST_SUITE_P(AtEveryStep, FaultTest, testing::Values("kill", "full"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace clonesafe::lab
