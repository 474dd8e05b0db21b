/* The generation page: what the guest agent publishes to every process of its guest, at
 * /run/clonesafe/generation. docs/formats/generation-page.md is the specification.
 *
 * Any process may map it read-only. It has two writers that can't see each other: the agent, and
 * (when the page is registered) the VMM, which writes it between a restore and the first
 * instruction. So it is not a plain seqlock: there are three slots, and one 64-bit control word
 * names the slot in force. The agent fills slot 0 or 1, whichever is not in force, and commits by
 * compare-and-swap of the control word; the VMM fills slot 2 and stores the control word. An agent
 * that was interrupted by a snapshot finds its compare-and-swap refused and starts again. No reader
 * ever waits for a writer:
 *
 *   do { c = control (acquire); copy slot[c % 4]; fence; } while (control != c), a bounded number
 * of times
 *
 * A changed control word means "something changed" (generation, reseed epoch, kernel RNG epoch or
 * state), and costs a program one load to see. Compare with !=, never with >.
 *
 * All fields are little-endian. C11 and C++17.
 */
#ifndef CLONESAFE_ABI_GENERATION_PAGE_H_
#define CLONESAFE_ABI_GENERATION_PAGE_H_

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CLONESAFE_GENERATION_PAGE_PATH "/run/clonesafe/generation"
#define CLONESAFE_GENERATION_PAGE_MAGIC UINT64_C(0x31304e4547534c43) /* "CLSGEN01" */
#define CLONESAFE_GENERATION_PAGE_VERSION 1u
#define CLONESAFE_GENERATION_PAGE_SIZE 0x1000u
#define CLONESAFE_GENERATION_NONCE_SIZE 16u
#define CLONESAFE_DIVERSIFIER_SIZE 32u

#define CLONESAFE_GENERATION_SLOTS 3u
#define CLONESAFE_GENERATION_VMM_SLOT 2u
/* control = (count << 2) | slot; count grows by one with each commit, by either writer. */
#define CLONESAFE_GENERATION_SLOT_OF(control) ((unsigned)((control) & 3u))
#define CLONESAFE_GENERATION_NEXT(control, slot) (((((control) >> 2) + 1u) << 2) | (uint64_t)(slot))

enum clonesafe_generation_state {
  CLONESAFE_STATE_REPAIRING = 1, /* restored; uniqueness is not restored yet */
  CLONESAFE_STATE_SAFE = 2,      /* every critical repair succeeded */
  CLONESAFE_STATE_DEGRADED = 3   /* a repair failed; the agent's report says which */
};

/* How early the page's readers know of a restore (docs/architecture.md, "Tiers"). */
enum clonesafe_tier {
  CLONESAFE_TIER_NONE = 0,
  CLONESAFE_TIER_LAGGING = 1,
  CLONESAFE_TIER_ANNOUNCED = 2,
  CLONESAFE_TIER_WORD = 3
};

struct clonesafe_generation_slot {
  uint64_t generation;       /* changes for a clone or restore */
  uint64_t reseed_epoch;     /* changes whenever generators must reseed, also in the source */
  uint64_t kernel_rng_epoch; /* changes after the agent reseeded the kernel's generator */
  uint8_t diversifier[CLONESAFE_DIVERSIFIER_SIZE]; /* differs between siblings; never secret */
  uint8_t vm_generation_id[16]; /* as the agent or VMM saw it; zero where there is none */
  uint8_t restore_id[16];       /* of the restore this slot tells of */
  uint64_t host_realtime_ns;    /* the host's CLOCK_REALTIME at the restore; 0 if unknown */
  uint64_t published_ns; /* guest CLOCK_BOOTTIME of the agent's write; 0 when the VMM wrote */
  uint32_t state;        /* enum clonesafe_generation_state */
  uint32_t tier;         /* enum clonesafe_tier: WORD once the page is registered */
  uint8_t reserved[0x100 - 0x70];
};

struct clonesafe_generation_page {
  uint64_t magic;
  uint32_t version;
  uint32_t size; /* 0x1000 */
  uint64_t control;
  uint8_t nonce[CLONESAFE_GENERATION_NONCE_SIZE]; /* of the registration; the VMM writes only if it
                                                     matches */
  uint8_t reserved0[0x100 - 0x28];
  struct clonesafe_generation_slot slots[CLONESAFE_GENERATION_SLOTS];
  uint8_t reserved1[0x1000 - 0x400];
};

static_assert(offsetof(struct clonesafe_generation_slot, diversifier) == 0x18,
              "generation page layout");
static_assert(offsetof(struct clonesafe_generation_slot, vm_generation_id) == 0x38,
              "generation page layout");
static_assert(offsetof(struct clonesafe_generation_slot, restore_id) == 0x48,
              "generation page layout");
static_assert(offsetof(struct clonesafe_generation_slot, host_realtime_ns) == 0x58,
              "generation page layout");
static_assert(offsetof(struct clonesafe_generation_slot, state) == 0x68, "generation page layout");
static_assert(sizeof(struct clonesafe_generation_slot) == 0x100, "generation page layout");
static_assert(offsetof(struct clonesafe_generation_page, control) == 0x10,
              "generation page layout");
static_assert(offsetof(struct clonesafe_generation_page, nonce) == 0x18, "generation page layout");
static_assert(offsetof(struct clonesafe_generation_page, slots) == 0x100, "generation page layout");
static_assert(sizeof(struct clonesafe_generation_page) == 0x1000, "generation page layout");

/* The diversifier that agent and VMM both derive from a restore's seed:
 * HMAC-SHA256(key = seed, data = this label without its terminating zero). */
#define CLONESAFE_DIVERSIFIER_LABEL "clonesafe diversifier v1"

#endif /* CLONESAFE_ABI_GENERATION_PAGE_H_ */
