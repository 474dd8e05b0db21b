/* Runs a few instructions in a KVM guest: the smoke test of the lanes that need KVM. Prints what it
 * did; exit code 0 only if the guest added 2 and 3. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static int fail(const char* what) {
  perror(what);
  return 1;
}

int main(void) {
  /* mov $0x3f8,%dx; add %bl,%al; out %al,(%dx); hlt */
  static const uint8_t code[] = {0xba, 0xf8, 0x03, 0x00, 0xd8, 0xee, 0xf4};
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) return fail("/dev/kvm");
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm < 0) return fail("KVM_CREATE_VM");
  uint8_t* memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail("mmap");
  memcpy(memory, code, sizeof code);
  struct kvm_userspace_memory_region region = {.slot = 0,
                                               .guest_phys_addr = 0x1000,
                                               .memory_size = 4096,
                                               .userspace_addr = (uintptr_t)memory};
  if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) return fail("KVM_SET_USER_MEMORY_REGION");
  int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  if (vcpu < 0) return fail("KVM_CREATE_VCPU");
  int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  struct kvm_run* run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (run == MAP_FAILED) return fail("mmap of the vCPU");
  struct kvm_sregs sregs;
  if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0) return fail("KVM_GET_SREGS");
  sregs.cs.base = 0;
  sregs.cs.selector = 0;
  if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0) return fail("KVM_SET_SREGS");
  struct kvm_regs regs = {.rip = 0x1000, .rax = 2, .rbx = 3, .rflags = 2};
  if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0) return fail("KVM_SET_REGS");
  int sum = -1;
  for (;;) {
    if (ioctl(vcpu, KVM_RUN, 0) < 0) return fail("KVM_RUN");
    if (run->exit_reason == KVM_EXIT_IO) {
      sum = ((uint8_t*)run)[run->io.data_offset];
      printf("guest wrote %d to port 0x%x\n", sum, run->io.port);
    } else if (run->exit_reason == KVM_EXIT_HLT) {
      break;
    } else {
      printf("unexpected exit %u\n", run->exit_reason);
      return 1;
    }
  }
  return sum == 5 ? 0 : 1;
}
