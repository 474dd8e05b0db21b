#ifndef CLONESAFE_TESTS_UNIT_AGENT_AGENT_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_AGENT_AGENT_FIXTURE_H_

#include "guest_agent/repairs/kernel_rng.h"
#include "guest_agent/repairs/machine_id.h"
#include "libclonesafe/page/generation_page_reader.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {

// How often the agent looks whether all is frozen, and what snapshots are announced with.
inline constexpr std::chrono::milliseconds kPoll{1};
inline constexpr std::chrono::milliseconds kDeadline{500};

// A whole agent over a restore page in a file.
class AgentTest : public testing::Test {
 protected:
  AgentTest() {
    pages_.write(RestoreKind::kBoot, 10, 1);
    folder_.write("machine-id", kOldMachineId);
    auto opened = RestorePageSource::open_file(pages_.path());
    seed_ = std::move(opened->seed);
    sources_.add(std::move(opened->source));
    repairs_.add(std::make_unique<KernelRngRepair>(kernel_, seed_.get()));
    repairs_.add(std::make_unique<MachineIdRepair>(kernel_, folder_ / "machine-id", ""));
    for (const char* const cgroup : {"one", "two"}) {
      std::filesystem::create_directory(folder_ / cgroup);
      folder_.write(std::string(cgroup) + "/cgroup.freeze", "0\n");
      folder_.write(std::string(cgroup) + "/cgroup.events", "populated 1\nfrozen 0\n");
    }
  }

  void start() {
    auto agent = Agent::start({.sources = sources_,
                               .seed = seed_.get(),
                               .repairs = repairs_,
                               .freezer = freezer_,
                               .hooks = hooks_,
                               .trim = trim_,
                               .host = host_,
                               .timers = timers_,
                               .on_failure = on_failure_,
                               .power_off = [this] { ++powered_off_; },
                               .page_path = page_path_});
    ASSERT_TRUE(agent) << agent.error().message();
    agent_ = std::move(*agent);
  }

  clonesafe_generation_slot slot() { return GenerationPageReader::open(page_path_)->read()->slot; }
  std::string machine_id() { return folder_.read("machine-id"); }
  int reseeds() {
    return static_cast<int>(std::count(kernel_.calls.begin(), kernel_.calls.end(), "reseed"));
  }

  void welcome(std::uint8_t serial, RestoreKind kind) {
    agent_->host_said(Welcome{.host = "test", .words = {.restore_id = id(serial), .kind = kind}});
  }
  // What the kernel does some time after cgroup.freeze was written.
  void kernel_freezes() {
    for (const char* const cgroup : {"one", "two"}) {
      folder_.write(std::string(cgroup) + "/cgroup.events", "populated 1\nfrozen 1\n");
    }
  }
  bool thawed() {
    return folder_.read("one/cgroup.freeze")[0] == '0' &&
           folder_.read("two/cgroup.freeze")[0] == '0';
  }

  // Writes into the page as the VMM does between a restore and the first instruction.
  void vmm_writes_page(std::uint64_t generation, std::uint8_t serial) {
    UniqueFd fd(::open(page_path_.c_str(), O_RDWR | O_CLOEXEC));
    const auto mapping = *Mapping::map("page", 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get());
    auto& page = *reinterpret_cast<clonesafe_generation_page*>(mapping.data());
    clonesafe_generation_slot& target = page.slots[CLONESAFE_GENERATION_VMM_SLOT];
    target = {};
    target.generation = generation;
    target.reseed_epoch = 1000U + serial;
    std::memset(target.restore_id, serial, sizeof(target.restore_id));
    std::memset(target.diversifier, 0x40 | serial, sizeof(target.diversifier));
    target.state = CLONESAFE_STATE_REPAIRING;
    target.tier = CLONESAFE_TIER_WORD;
    page.control = CLONESAFE_GENERATION_NEXT(page.control, CLONESAFE_GENERATION_VMM_SLOT);
  }

  TemporaryFolder folder_;
  std::string page_path_ = folder_ / "generation";
  RestorePages pages_{folder_ / "restore"};
  FakeKernel kernel_;
  FakeHost host_;
  ManualTimers timers_;
  std::unique_ptr<SeedPage> seed_;
  SourceSet sources_;
  RepairTable repairs_;
  CgroupFreezer freezer_{{folder_ / "one", folder_ / "two"}};
  Hooks* hooks_ = nullptr;
  Hooks* trim_ = nullptr;
  FailurePolicy on_failure_ = FailurePolicy::kContinue;
  int powered_off_ = 0;
  std::unique_ptr<Agent> agent_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_TESTS_UNIT_AGENT_AGENT_FIXTURE_H_
