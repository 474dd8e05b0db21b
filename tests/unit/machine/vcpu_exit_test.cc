#include "vmm_device/machine/vcpu_exit.h"

#include <gtest/gtest.h>

namespace clonesafe {
namespace {

VcpuExit port_write() {
  kvm_run run{};
  run.exit_reason = KVM_EXIT_IO;
  run.io.port = 0x3f8;
  run.io.direction = KVM_EXIT_IO_OUT;
  return note_exit(run);
}

TEST(VcpuExit, NotesWhereTheGuestSpokeToUs) {
  EXPECT_EQ(to_string(VcpuExit{}), "none");
  EXPECT_EQ(to_string(port_write()), "write to port 0x3f8");
  kvm_run run{};
  run.exit_reason = KVM_EXIT_MMIO;
  run.mmio.phys_addr = 0xd0000050;
  EXPECT_EQ(to_string(note_exit(run)), "read at 0xd0000050");
  run.exit_reason = KVM_EXIT_INTR;
  EXPECT_EQ(to_string(note_exit(run)), "KVM exit 10");
}

TEST(VcpuExit, TripleFaultIsOneLineWithTheRegisters) {
  kvm_regs registers{};
  registers.rip = 0xffffffff81000010;
  registers.rsp = 0xffffc90000003fd8;
  kvm_sregs2 system{};
  system.cr0 = 0x80050033;
  system.cr2 = 0x8;
  system.cr3 = 0x1234000;
  system.cr4 = 0x6f0;
  system.efer = 0xd01;
  EXPECT_EQ(describe_triple_fault("vcpu 1", registers, system, port_write()),
            "triple fault, vcpu 1: rip 0xffffffff81000010 rsp 0xffffc90000003fd8 cr0 0x80050033 "
            "cr2 0x8 cr3 0x1234000 cr4 0x6f0 efer 0xd01, last exit: write to port 0x3f8");
}

// Such registers say nothing of the guest; nobody should look for a fault at 0xfff0.
TEST(VcpuExit, TripleFaultSaysThatKvmHasResetTheRegisters) {
  kvm_regs registers{};
  registers.rip = 0xfff0;
  kvm_sregs2 system{};
  system.cs.base = 0xffff0000;
  system.cr0 = 0x60000010;
  EXPECT_EQ(describe_triple_fault("vcpu 0", registers, system, {}),
            "triple fault, vcpu 0: registers already reset by KVM: rip 0xfff0 rsp 0x0 cr0 "
            "0x60000010 cr2 0x0 cr3 0x0 cr4 0x0 efer 0x0, last exit: none");
}

TEST(VcpuExit, DescribesWhatTheMachineCantGoOnFrom) {
  kvm_run run{};
  run.exit_reason = KVM_EXIT_FAIL_ENTRY;
  run.fail_entry.hardware_entry_failure_reason = 0x80000021;
  EXPECT_EQ(describe_failure(run),
            "the CPU refused to enter the guest, hardware reason 0x80000021");
  run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
  run.internal.suberror = 1;
  EXPECT_EQ(describe_failure(run),
            "KVM internal error 1 (1: an instruction that KVM can't emulate)");
  run.exit_reason = 99;
  EXPECT_EQ(describe_failure(run), "unknown KVM exit 99");
}

}  // namespace
}  // namespace clonesafe
