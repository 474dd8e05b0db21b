/* The bare guest: a kernel of one loop. It sends the generation of its restore page to the serial
 * line, eight bytes at a time, for ever. Each byte is read from the page and sent by one
 * instruction, so no byte of it is ever in a register: whatever a clone sends after its restore, it
 * read after its restore. Boots in no time, and needs 64 MiB at most. */
#include <asm/bootparam.h>
#include <stddef.h>
#include <stdint.h>

#include "clonesafe/abi/restore_page.h"

enum {
  kRestorePage = 0xfeff2000, /* docs/machine.md */
  kCom1 = 0x3f8,
  kSetupSize = 0x400,
  kHeaderAt = 0x1f1
};

/* What makes it a Linux kernel for a boot loader: one sector of real-mode code after the boot
 * sector, none of which ever runs. */
const struct __attribute__((packed)) {
  uint8_t boot_sector[kHeaderAt];
  struct setup_header header;
  uint8_t rest[kSetupSize - kHeaderAt - sizeof(struct setup_header)];
} setup __attribute__((section(".setup"), used)) = {
    .header = {.setup_sects = 1,
               .syssize = 0x200 / 16,
               .boot_flag = 0xaa55,
               .jump = 0xeb | (sizeof(struct setup_header) - (0x202 - kHeaderAt)) << 8,
               .header = 0x53726448,
               .version = 0x20f,
               .loadflags = LOADED_HIGH,
               .initrd_addr_max = 0x7fffffff,
               .kernel_alignment = 0x100000,
               .xloadflags = XLF_KERNEL_64,
               .cmdline_size = 255,
               .pref_address = 0x100000,
               .init_size = 0x10000}};

/* Entered in 64-bit mode, with the first 4 GiB mapped as they are. */
__attribute__((section(".entry"), used, noreturn)) void entry(void) {
  for (;;) {
    uint64_t at = kRestorePage + offsetof(struct clonesafe_restore_page, generation);
    __asm__ volatile("cld; outsb; outsb; outsb; outsb; outsb; outsb; outsb; outsb"
                     : "+S"(at)
                     : "d"(kCom1)
                     : "memory");
  }
}
