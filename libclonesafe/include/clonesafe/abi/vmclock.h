/* VMCLOCK: a 4 KiB page that the VMM writes and the guest maps read-only. Layout of version 1 as in
 * Linux include/uapi/linux/vmclock-abi.h (kernel 7.0) and UAPI Group specification, vmclock 1.1.
 * All fields are little-endian.
 *
 * A writer makes seq_count odd, writes, makes it even. A reader takes an even seq_count, reads, and
 * retries a bounded number of times if seq_count moved.
 *
 * C11 and C++17.
 */
#ifndef CLONESAFE_ABI_VMCLOCK_H_
#define CLONESAFE_ABI_VMCLOCK_H_

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CLONESAFE_VMCLOCK_HID "AMZNC10C"
#define CLONESAFE_VMCLOCK_CID "VMCLOCK"
#define CLONESAFE_VMCLOCK_MAGIC 0x4b4c4356u /* "VCLK" */
#define CLONESAFE_VMCLOCK_VERSION 1u
#define CLONESAFE_VMCLOCK_SIZE 0x1000u
#define CLONESAFE_VMCLOCK_COUNTER_INVALID 0xffu
#define CLONESAFE_VMCLOCK_TIME_UTC 0u
#define CLONESAFE_VMCLOCK_STATUS_UNKNOWN 0u
#define CLONESAFE_VMCLOCK_FLAG_VM_GEN_COUNTER_PRESENT (UINT64_C(1) << 8)
#define CLONESAFE_VMCLOCK_FLAG_NOTIFICATION_PRESENT (UINT64_C(1) << 9)

struct clonesafe_vmclock {
  uint32_t magic;
  uint32_t size;
  uint16_t version;
  uint8_t counter_id;
  uint8_t time_type;
  uint32_t seq_count;
  uint64_t disruption_marker;
  uint64_t flags;
  uint8_t pad[2];
  uint8_t clock_status;
  uint8_t leap_second_smearing_hint;
  int16_t tai_offset_sec;
  uint8_t leap_indicator;
  uint8_t counter_period_shift;
  uint64_t counter_value;
  uint64_t counter_period_frac_sec;
  uint64_t counter_period_esterror_rate_frac_sec;
  uint64_t counter_period_maxerror_rate_frac_sec;
  uint64_t time_sec;
  uint64_t time_frac_sec;
  uint64_t time_esterror_nanosec;
  uint64_t time_maxerror_nanosec;
  uint64_t vm_generation_counter; /* random and never repeated when clonevm writes it */
};

static_assert(offsetof(struct clonesafe_vmclock, seq_count) == 0x0c, "VMCLOCK layout");
static_assert(offsetof(struct clonesafe_vmclock, disruption_marker) == 0x10, "VMCLOCK layout");
static_assert(offsetof(struct clonesafe_vmclock, flags) == 0x18, "VMCLOCK layout");
static_assert(offsetof(struct clonesafe_vmclock, clock_status) == 0x22, "VMCLOCK layout");
static_assert(offsetof(struct clonesafe_vmclock, tai_offset_sec) == 0x24, "VMCLOCK layout");
static_assert(offsetof(struct clonesafe_vmclock, counter_value) == 0x28, "VMCLOCK layout");
static_assert(offsetof(struct clonesafe_vmclock, time_sec) == 0x48, "VMCLOCK layout");
static_assert(offsetof(struct clonesafe_vmclock, vm_generation_counter) == 0x68, "VMCLOCK layout");
static_assert(sizeof(struct clonesafe_vmclock) == 0x70, "VMCLOCK layout");

#endif /* CLONESAFE_ABI_VMCLOCK_H_ */
