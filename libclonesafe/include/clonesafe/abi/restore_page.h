/* The restore page and the seed page: what a clonesafe VMM tells its guest about the last restore.
 * docs/formats/restore-page.md is the specification; this header is its layout.
 *
 * Two pages, back to back, in one ACPI memory resource of 8 KiB (_HID "CLNS0001"), in an
 * E820-reserved range, so that /proc/iomem names them on any kernel. The VMM writes them while no
 * vCPU runs. The guest reads the restore page; of the seed page it also zeroes the seed once it has
 * used it.
 *
 * All fields are little-endian. C11 and C++17.
 */
#ifndef CLONESAFE_ABI_RESTORE_PAGE_H_
#define CLONESAFE_ABI_RESTORE_PAGE_H_

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CLONESAFE_RESTORE_PAGE_HID "CLNS0001"
#define CLONESAFE_RESTORE_PAGE_MAGIC UINT64_C(0x3130455250534c43) /* "CLSPRE01" */
#define CLONESAFE_RESTORE_PAGE_VERSION 1u
#define CLONESAFE_RESTORE_PAGE_SIZE 0x1000u
#define CLONESAFE_RESTORE_METADATA_MAX 3072u

#define CLONESAFE_SEED_PAGE_MAGIC UINT64_C(0x3130444553534c43) /* "CLSSED01" */
#define CLONESAFE_SEED_PAGE_VERSION 1u
#define CLONESAFE_SEED_SIZE 32u

/* Why the page was last written. */
enum clonesafe_restore_kind {
  CLONESAFE_RESTORE_BOOT = 1,   /* the machine was started, not restored */
  CLONESAFE_RESTORE_RESUME = 2, /* the source goes on after its snapshot: only reseed_epoch moved */
  CLONESAFE_RESTORE_CLONE = 3,  /* restored; the source or siblings may run too */
  CLONESAFE_RESTORE_MOVE = 4    /* restored, the source is gone and the snapshot is used up */
};

struct clonesafe_restore_page {
  uint64_t magic;
  uint32_t version;
  uint32_t size;         /* of the page: 0x1000 */
  uint32_t sequence;     /* odd while the VMM writes */
  uint32_t kind;         /* enum clonesafe_restore_kind */
  uint64_t generation;   /* random, non-zero, new for each clone; the VMCLOCK counter's value too */
  uint64_t reseed_epoch; /* random, non-zero, new whenever generators must be reseeded */
  uint8_t vm_generation_id[16]; /* a copy of VMGENID */
  uint8_t restore_id[16]; /* random, new for each write; binds the agent's report to this restore */
  uint64_t host_realtime_ns;  /* the host's CLOCK_REALTIME when the page was written */
  uint64_t seed_page_address; /* guest-physical; 0 if the VMM gives no seed */
  uint32_t metadata_size;     /* bytes of metadata in use */
  /* The guest's TSC at host_realtime_ns, so that the guest knows the time since then. 0 kHz: not
   * told (a boot, a resume, a VMM that doesn't say). */
  uint32_t tsc_khz;
  uint64_t tsc;
  uint8_t reserved1[0x400 - 0x68];
  uint8_t metadata[CLONESAFE_RESTORE_METADATA_MAX]; /* the operator's bytes (--metadata), not
                                                       interpreted */
};

static_assert(offsetof(struct clonesafe_restore_page, sequence) == 0x10, "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, kind) == 0x14, "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, generation) == 0x18, "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, reseed_epoch) == 0x20, "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, vm_generation_id) == 0x28,
              "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, restore_id) == 0x38, "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, host_realtime_ns) == 0x48,
              "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, seed_page_address) == 0x50,
              "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, metadata_size) == 0x58,
              "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, tsc_khz) == 0x5c, "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, tsc) == 0x60, "restore page layout");
static_assert(offsetof(struct clonesafe_restore_page, metadata) == 0x400, "restore page layout");
static_assert(sizeof(struct clonesafe_restore_page) == 0x1000, "restore page layout");

/* Secret and short-lived. The agent zeroes `seed` after use and sets present to 0; the VMM zeroes
 * it on the agent's report, after a time limit, and in everything it writes to a file. */
struct clonesafe_seed_page {
  uint64_t magic;
  uint32_t version;
  uint32_t present;       /* 1: seed holds bytes that were never given before; 0: none */
  uint8_t restore_id[16]; /* the restore that the seed belongs to */
  uint8_t seed[CLONESAFE_SEED_SIZE];
  uint8_t reserved[0x1000 - 0x40];
};

static_assert(offsetof(struct clonesafe_seed_page, restore_id) == 0x10, "seed page layout");
static_assert(offsetof(struct clonesafe_seed_page, seed) == 0x20, "seed page layout");
static_assert(sizeof(struct clonesafe_seed_page) == 0x1000, "seed page layout");

#endif /* CLONESAFE_ABI_RESTORE_PAGE_H_ */
