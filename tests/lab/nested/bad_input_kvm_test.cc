// What clonevm must refuse on a host with KVM: rights, memory, disks, and snapshots that are right
// in themselves but not for this host. One guest serves for all of it, and must live through it.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "libclonesafe/base/error.h"
#include "tests/lab/nested/refusal.h"
#include "tests/lab/nested/snapshot_edit.h"
#include "vmm_device/kvm/vcpu_state.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
const std::string kNoAgent = "clonesafe.agent=off clonesafe.probes=off";
// The folder of a clone that ended before it ran keeps what it wrote.
const std::vector<std::string> kLogsOfAClone = {"run", "run/1", "run/1/clone.json",
                                                "run/1/clone.log", "run/1/serial.log"};

class OnKvmBadInput : public RefusalTest {
 protected:
  static void SetUpTestSuite() {
    ASSERT_EQ(access("/dev/kvm", R_OK | W_OK), 0) << Error::from_errno("/dev/kvm").message();
    shared_ = new Shared;
    shared_->vm = BootedVm::boot(shared_->scratch / "source", {.cmdline = kNoAgent});
    ASSERT_TRUE(shared_->vm);
    const auto taken = shared_->vm->guest().snapshot(good(), {"--resume"});
    ASSERT_TRUE(taken) << taken.error().message();
    ASSERT_EQ(taken->status, 0) << taken->output;
  }
  static void TearDownTestSuite() { delete shared_; }
  void SetUp() override { ASSERT_TRUE(shared_ != nullptr && shared_->vm); }

  static fs::path good() { return shared_->scratch / "good"; }
  static BootedVm& vm() { return *shared_->vm; }
  // The source answers, and a snapshot of it still works.
  static void expect_guest_goes_on() { EXPECT_EQ(vm().guest().get("echo alive"), "alive"); }
  Refusal snapshot_to(const fs::path& out, std::vector<std::string> says) const {
    return {.arguments = {"snapshot", "--api", (shared_->scratch / "source/api").string(), "--out",
                          out.string()},
            .says = std::move(says)};
  }
  Refusal boot(std::vector<std::string> more, std::vector<std::string> says) const {
    std::vector<std::string> arguments = {
        "run",   "--kernel", Lab::get().kernel, "--vsock", "cid=3,path=" + path("v").string(),
        "--api", path("a"),  "--serial",        "none"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return {.arguments = std::move(arguments), .says = std::move(says)};
  }
  Refusal restore(const fs::path& snapshot, std::vector<std::string> says) const {
    return {.arguments = {"restore", snapshot.string(), "--run-dir", path("run").string()},
            .says = std::move(says),
            .may_stay = kLogsOfAClone};
  }
  // A copy of the good snapshot with these sections changed.
  fs::path edited(snapshot::Tag tag, const std::function<void(std::span<std::byte>)>& edit) const {
    copy_snapshot(good(), path("edited"));
    edit_sections(path("edited"), tag, edit);
    return path("edited");
  }

 private:
  struct Shared {
    Scratch scratch;
    std::unique_ptr<BootedVm> vm;
  };
  static inline Shared* shared_ = nullptr;
};

TEST_F(OnKvmBadInput, NoKvm) {
  Refusal run = boot({}, {"/dev/kvm", "No such file"});
  run.in_child = hide_kvm;
  expect_refused(run);
  Refusal clone = restore(good(), {"clone 1", "/dev/kvm", "No such file"});
  clone.in_child = hide_kvm;
  expect_refused(clone);
}

TEST_F(OnKvmBadInput, NoRightToKvm) {
  struct stat kvm{};
  ASSERT_EQ(stat("/dev/kvm", &kvm), 0);
  if ((kvm.st_mode & S_IROTH) != 0) GTEST_SKIP() << "SKIPPED: everybody may open /dev/kvm here";
  if (geteuid() != 0) GTEST_SKIP() << "SKIPPED: only root can become somebody else";
  // All but the device is his: folder, program, kernel.
  ASSERT_EQ(chown(path("").c_str(), kNobody, kNobody), 0);
  fs::copy_file(Lab::get().kernel, path("kernel"));
  ASSERT_EQ(chown(path("kernel").c_str(), kNobody, kNobody), 0);
  Refusal run = boot({}, {"/dev/kvm", "Permission denied"});
  run.arguments[2] = path("kernel");
  run.in_child = become_nobody;
  expect_refused(run);
}

TEST_F(OnKvmBadInput, MemoryTooSmallForTheKernel) {
  expect_refused(boot({"--mem", "16M"}, {"memory of 16 MiB is too small", "kernel"}));
}

TEST_F(OnKvmBadInput, MemoryTooSmallForTheInitrd) {
  const std::string initrd = path("initrd");
  std::ofstream(initrd) << "x";
  fs::resize_file(initrd, std::uintmax_t{300} << 20);
  expect_refused(boot({"--initrd", initrd}, {"memory of 256 MiB is too small", "initrd"}));
}

TEST_F(OnKvmBadInput, SocketThatExists) {
  std::ofstream(path("a")) << "mine";
  expect_refused(boot({}, {path("a"), "in use"}));
  EXPECT_EQ(read_file(path("a")), "mine");
  std::ofstream(path("v")) << "mine";
  expect_refused(boot({}, {path("v"), "in use"}));
  EXPECT_EQ(read_file(path("v")), "mine");
}

TEST_F(OnKvmBadInput, SnapshotDirectoryThatExists) {
  fs::create_directory(path("there"));
  expect_refused(snapshot_to(path("there"), {path("there"), "exists"}));
  expect_refused(snapshot_to(path("no/such/folder"), {path("no/such"), "No such file"}));
  expect_guest_goes_on();
}

TEST_F(OnKvmBadInput, FullDisk) {
  if (geteuid() != 0) GTEST_SKIP() << "SKIPPED: only root can mount a small disk";
  fs::create_directory(path("disk"));
  ASSERT_EQ(mount("none", path("disk").c_str(), "tmpfs", 0, "size=4m"), 0);
  expect_refused(snapshot_to(path("disk/snapshot"), {"disk/snapshot", "No space left"}));
  EXPECT_TRUE(fs::is_empty(path("disk")));
  expect_guest_goes_on();
  umount2(path("disk").c_str(), MNT_DETACH);
}

TEST_F(OnKvmBadInput, FileSizeLimit) {
  rlimit before{};
  const pid_t machine = vm().process().pid();
  ASSERT_EQ(prlimit(machine, RLIMIT_FSIZE, nullptr, &before), 0);
  rlimit small = before;
  small.rlim_cur = 1 << 20;
  ASSERT_EQ(prlimit(machine, RLIMIT_FSIZE, &small, nullptr), 0);
  expect_refused(snapshot_to(path("snapshot"), {"snapshot", "File too large"}));
  ASSERT_EQ(prlimit(machine, RLIMIT_FSIZE, &before, nullptr), 0);
  expect_guest_goes_on();
  // Nothing of the failure stays in the machine.
  EXPECT_EQ(vm().guest().snapshot(path("snapshot"), {"--resume"})->status, 0);
  expect_guest_goes_on();
}

TEST_F(OnKvmBadInput, SnapshotOfAnotherCpuVendor) {
  const auto edit = [](std::span<std::byte> bytes) {
    for (const char* vendor : {"AuthcAMDenti", "GenuntelineI"}) {  // EBX, ECX, EDX
      void* found = memmem(bytes.data(), bytes.size(), vendor, 12);
      if (found != nullptr) std::memcpy(found, "CentaulsaurH", 12);
    }
  };
  expect_refused(restore(edited(snapshot::Tag::vcpu, edit),
                         {"clone 1", "the snapshot was taken on a CPU of"}));
}

TEST_F(OnKvmBadInput, SnapshotOfACpuWithMoreFeatures) {
  const auto edit = [](std::span<std::byte> bytes) {
    StateDecoder decoder("vcpu", bytes);
    auto state = kvm::decode_vcpu(decoder);
    ASSERT_TRUE(state) << state.error().message();
    for (kvm_cpuid_entry2& entry : state->cpuid) {
      if (entry.function == 7 && entry.index == 0) entry.ebx |= 1U << 31 | 1U << 16 | 1U << 2;
    }
    StateEncoder encoder;
    kvm::encode(encoder, *state);
    ASSERT_EQ(encoder.bytes().size(), bytes.size());
    std::ranges::copy(encoder.bytes(), bytes.begin());
  };
  // SGX is offered to no guest, whatever the host has.
  expect_refused(restore(edited(snapshot::Tag::vcpu, edit),
                         {"clone 1", "lacks what the snapshot uses", "sgx"}));
}

// KVM takes no frequency of 0, and this host, if it doesn't scale, none but its own.
TEST_F(OnKvmBadInput, SnapshotOfAnotherTscFrequency) {
  const auto edit = [](std::span<std::byte> bytes) {
    StateDecoder decoder("vcpu", bytes);
    auto state = kvm::decode_vcpu(decoder);
    ASSERT_TRUE(state) << state.error().message();
    state->tsc_khz = 0;
    StateEncoder encoder;
    kvm::encode(encoder, *state);
    std::ranges::copy(encoder.bytes(), bytes.begin());
  };
  expect_refused(restore(edited(snapshot::Tag::vcpu, edit), {"clone 1", "0 kHz"}));
}

// Right checksums, wrong content: the parser of each section names it.
TEST_F(OnKvmBadInput, SectionsThatHoldAnything) {
  const auto ones = [](std::span<std::byte> bytes) { std::ranges::fill(bytes, std::byte{0xff}); };
  using snapshot::Tag;
  for (const Tag tag : {Tag::machine_config, Tag::vcpu, Tag::irqchip, Tag::clock, Tag::serial,
                        Tag::generation, Tag::virtio_device}) {
    const auto info = snapshot::tag_info(static_cast<std::uint32_t>(tag));
    if (!info) FAIL() << "section " << static_cast<std::uint32_t>(tag) << " has no name";
    SCOPED_TRACE(info->name);
    expect_refused(restore(edited(tag, ones), {"clone 1"}));
    fs::remove_all(path("edited"));
    fs::remove_all(path("run"));
  }
}

TEST_F(OnKvmBadInput, RealSnapshotWithAnyByteFlippedOrCut) {
  copy_snapshot(good(), path("damaged"));
  const std::string state = state_of(good());
  for (std::size_t at = 5; at < state.size(); at += state.size() / 12) {
    std::string flipped = state;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x40);
    set_state(path("damaged"), flipped);
    expect_refused(restore(path("damaged"), {"state.csn"}));
    set_state(path("damaged"), std::string_view(state).substr(0, at));
    expect_refused(restore(path("damaged"), {"state.csn"}));
  }
}

TEST_F(OnKvmBadInput, RealSnapshotWithShortMemory) {
  copy_snapshot(good(), path("short"));
  // Not through the link: that is the good one's.
  fs::remove(path("short/memory.img"));
  std::ofstream(path("short/memory.img"));
  fs::resize_file(path("short/memory.img"), (std::uintmax_t{256} << 20) - 4096);
  expect_refused(restore(path("short"), {"memory.img"}));
}

}  // namespace
}  // namespace clonesafe::lab
