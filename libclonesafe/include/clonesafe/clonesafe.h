/* libclonesafe: random values and identifiers that stay unique when the virtual machine is cloned.
 *
 * What it promises: no value drawn from here after a restore is also drawn by the machine that the
 * snapshot was taken of, or by a sibling restored from the same snapshot; and none drawn in a child
 * of fork(2) by its parent. From when on the promise holds after a restore is the tier, see
 * cs_status. A value drawn before the snapshot and used after it is repeated by nature: take a
 * stamp with it and ask cs_changed before the use.
 *
 * Thread-safety: every function may be called from any thread at any time; threads share no state
 * on the fast path. Fork-safety: every function works in a child of fork(2), also of a
 * multi-threaded process. Clone-safety: every function may be interrupted by a snapshot at any
 * instruction. Not async-signal-safe: a call from a signal handler that interrupted a call of the
 * same thread returns CS_E_BUSY. errno is left as it was.
 *
 * Functions that can fail return 0 or a negative CS_E_ code. On failure an output buffer holds
 * zeros, never part of a random value. C11 and C++17.
 */
#ifndef CLONESAFE_CLONESAFE_H_
#define CLONESAFE_CLONESAFE_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define CS_API __attribute__((visibility("default")))
#define CS_MUST_USE __attribute__((warn_unused_result))
#else
#define CS_API
#define CS_MUST_USE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Errors. */
#define CS_E_INVALID (-1) /* an argument: NULL with a length, a length above PTRDIFF_MAX */
#define CS_E_NOT_UNIQUE \
  (-2)                     /* this machine was cloned and nothing yet tells it from its siblings */
#define CS_E_ENTROPY (-3)  /* the kernel gave no random bytes (a seccomp filter, for one) */
#define CS_E_UNSTABLE (-4) /* the generation moved again at every attempt */
#define CS_E_MEMORY (-5)   /* no memory for the thread's state */
#define CS_E_CRYPTO (-6)   /* libcrypto refused a primitive */
#define CS_E_BUSY (-7)     /* called from inside another call of the same thread */
#define CS_E_NOT_COVERED (-8) /* no agent and VMM keep memory of this program out of snapshots */
#define CS_E_LIMIT (-9)       /* this user or machine has as many secret pages as there can be */
#define CS_E_NO_LEASE (-10)   /* no worker id is leased to this process in this generation */
#define CS_E_STALE (-11)      /* of another generation or process: must not be used any more */
#define CS_E_CLOCK (-12) /* the clock stands before, or ran out of, the next identifier's time */

/* How early this process knows of a restore. */
#define CS_TIER_NONE 0      /* never: no source is visible here */
#define CS_TIER_LAGGING 1   /* when the agent publishes, after the first instructions */
#define CS_TIER_ANNOUNCED 2 /* was frozen over the snapshot: before it runs again */
#define CS_TIER_WORD 3      /* at the first instruction */

/* What the agent says of the machine. */
#define CS_STATE_UNKNOWN 0   /* there is no page that could say */
#define CS_STATE_REPAIRING 1 /* restored; the machine's uniqueness is not restored yet */
#define CS_STATE_SAFE 2
#define CS_STATE_DEGRADED 3 /* a repair failed; `clonesafectl status` says which */

/* Sources in use, and what the calling thread was last seeded with. */
#define CS_SOURCE_PAGE 0x01u             /* the generation page */
#define CS_SOURCE_VMCLOCK 0x02u          /* /dev/vmclock0 */
#define CS_SOURCE_FORK 0x04u             /* a page that the kernel wipes on fork */
#define CS_SOURCE_KERNEL_RANDOM 0x08u    /* getrandom(2) */
#define CS_SOURCE_HARDWARE_RANDOM 0x10u  /* RDRAND or RDSEED */
#define CS_SOURCE_DIVERSIFIER 0x20u      /* the page held a diversifier */
#define CS_SOURCE_VM_GENERATION_ID 0x40u /* the page held a VM Generation ID */
#define CS_SOURCE_RESTORE_PAGE 0x80u     /* the restore page in guest memory, as root sees it */
#define CS_SOURCE_VMGENID 0x100u         /* VMGENID in guest memory, as root sees it */

/* What tells this machine from its siblings, the weakest first. */
#define CS_SEPARATION_NONE 0      /* nothing yet: draws return CS_E_NOT_UNIQUE */
#define CS_SEPARATION_KERNEL 1    /* the kernel's generator alone, from when it is reseeded on */
#define CS_SEPARATION_PROCESSOR 2 /* RDRAND or RDSEED */
#define CS_SEPARATION_HOST 3 /* a seed's diversifier, or a VM Generation ID, that the host gave */

/* What the host gave the last restore although it gave it before, in what this process remembers:
 * the last 32 restores of itself and of what it descends from. Nothing here can know what siblings
 * were given. A seed, which is secret, is known by its diversifier. */
#define CS_REPEATED_RESTORE_ID 0x01u
#define CS_REPEATED_SEED 0x02u /* so it counts for nothing in `separation` */
#define CS_REPEATED_VM_GENERATION_ID 0x04u

/* Where in its history of clones, restores and forks this process is. Compare fields with !=. */
struct cs_stamp {
  uint64_t generation;       /* changes for a clone or restore; 0 if no source is visible */
  uint64_t reseed_epoch;     /* changes whenever generators must reseed, also in the source */
  uint64_t kernel_rng_epoch; /* changes after the agent reseeded the kernel's generator */
  uint64_t forks;            /* changes in a child of fork */
  uint64_t words[4];         /* private, for the fast path of cs_changed */
};

/* What cs_changed returns, a sum of: */
#define CS_CHANGED_GENERATION 1 /* cloned or restored: identities and connections are not ours */
#define CS_CHANGED_RESEED 2     /* generators must reseed */
#define CS_CHANGED_FORK 4       /* this is a child of the process that took the stamp */

struct cs_status_report {
  uint32_t tier;             /* CS_TIER_ */
  uint32_t state;            /* CS_STATE_ */
  uint32_t sources;          /* CS_SOURCE_: what this process can see */
  uint32_t seeded_from;      /* CS_SOURCE_: of the calling thread's last seeding; 0 before it */
  struct cs_stamp stamp;     /* as cs_generation would give it */
  uint64_t host_realtime_ns; /* host's CLOCK_REALTIME at the restore; 0 if unknown */
  uint8_t restore_id[16];    /* of the restore that the page tells of */
  uint8_t vm_generation_id[16];
  const char* page_path;       /* where the generation page is looked for */
  const char* page_problem;    /* why the page is not in use; NULL if it is */
  const char* vmclock_problem; /* why /dev/vmclock0 is not in use; NULL if it is */
  uint32_t separation;         /* CS_SEPARATION_ */
  uint32_t repeated;           /* CS_REPEATED_: a fault of the host's; 0 if there is none */
  const char* word_problem;    /* why no source tells at the first instruction; NULL in tier word */
  const char* fork_problem;    /* why a fork may go unnoticed; NULL if none can */
  const char* kernel_problem;  /* why the kernel gave no random bytes when last asked; or NULL */
  const char* processor_problem; /* why the processor gives none; NULL if it does */
  const char* memory_problem;    /* why neither the restore page nor VMGENID is read; or NULL */
};

/* Opens the sources and allocates the calling thread's state. Optional: the first call of any other
 * function does it too. Call it before the process drops rights, enters a chroot or a seccomp
 * filter. A source that is absent is not an error (see cs_status); it is looked for again now and
 * then. */
CS_API CS_MUST_USE int cs_init(void);

/* Fills `buffer` with `length` random bytes fit for keys, nonces and identifiers. Waits up to one
 * second for what tells this machine from its siblings, when it was cloned and nothing else does;
 * then CS_E_NOT_UNIQUE, and again CS_E_NOT_UNIQUE at once until something changes. */
CS_API CS_MUST_USE int cs_random(void* buffer, size_t length);

/* The same from another stream, which shares no key with that of cs_random: for keys, beside a
 * cs_random whose output anybody sees. */
CS_API CS_MUST_USE int cs_random_private(void* buffer, size_t length);
/* As cs_random_private, with prediction resistance: each call first takes new bytes of the kernel's
 * generator (and the processor's) into the key, so whoever read this process's memory before it
 * knows nothing of them. Some microseconds. */
CS_API CS_MUST_USE int cs_random_fresh(void* buffer, size_t length);

/* What generates the bytes. Either is seeded anew whenever the stamp moves, and neither is
 * validated: for that, have libcrypto load a validated provider. */
#define CS_CORE_CHACHA20 0 /* ChaCha20 with fast key erasure: the default */
#define CS_CORE_CTR_DRBG 1 /* CTR_DRBG of SP 800-90A with AES-256, libcrypto's */
/* Chooses it for this process. CS_E_BUSY once any thread has drawn or called cs_init, CS_E_INVALID,
 * CS_E_CRYPTO: libcrypto has it not. */
CS_API CS_MUST_USE int cs_use_core(int core);

/* A version 4 UUID (RFC 9562, section 5.4) from cs_random. For other identifiers see ids.h. */
CS_API CS_MUST_USE int cs_uuid4(unsigned char uuid[16]);
/* The same as text: 36 characters in lower case and a terminating zero. */
CS_API CS_MUST_USE int cs_uuid4_text(char text[37]);
/* Writes `uuid` as text. Can't fail; of NULL the text is empty. */
CS_API void cs_uuid_text(const unsigned char uuid[16], char text[37]);

/* The stamp of this moment. Fails with CS_E_UNSTABLE if the page changed at every attempt. */
CS_API CS_MUST_USE int cs_generation(struct cs_stamp* stamp);

/* What changed since `since` was taken: 0 or a sum of CS_CHANGED_ bits. A few loads when nothing
 * did; no system call in any case. Errs on the side of "changed". NULL counts as changed. */
CS_API int cs_changed(const struct cs_stamp* since);

/* Where the three words are that move with a stamp: the page's control word, VMCLOCK's counter, and
 * the word that the kernel wipes on fork. For cs_changed_inline alone. A word that there is no
 * source for stands still; the library moves the pointers when a source appears. Members may be
 * added at the end. */
struct cs_live_words {
  const uint64_t* control;
  const uint64_t* counter;
  const uint64_t* fork;
};
/* The process's. Never NULL, and always the same. */
CS_API const struct cs_live_words* cs_live(void);

/* As cs_changed, for loops: three loads and no call while nothing changed. */
static inline int cs_changed_inline(const struct cs_stamp* since) {
#if defined(__GNUC__)
  static const struct cs_live_words* known;
  const struct cs_live_words* live = __atomic_load_n(&known, __ATOMIC_ACQUIRE);
  if (__builtin_expect(!live, 0)) {
    live = cs_live();
    __atomic_store_n(&known, live, __ATOMIC_RELEASE);
  }
  if (since) {
    const uint64_t* const control = __atomic_load_n(&live->control, __ATOMIC_ACQUIRE);
    const uint64_t* const counter = __atomic_load_n(&live->counter, __ATOMIC_ACQUIRE);
    const uint64_t* const fork_word = __atomic_load_n(&live->fork, __ATOMIC_ACQUIRE);
    if (__builtin_expect((uintptr_t)control == since->words[0] &&
                             __atomic_load_n(control, __ATOMIC_ACQUIRE) == since->words[1] &&
                             __atomic_load_n(counter, __ATOMIC_ACQUIRE) == since->words[2] &&
                             __atomic_load_n(fork_word, __ATOMIC_ACQUIRE) == since->forks,
                         1)) {
      return 0;
    }
  }
#endif
  return cs_changed(since);
}

/* Memory for a secret of 1 to CS_SECRET_MAX bytes that no snapshot of this virtual machine holds
 * and no clone has: in a clone, a fork of the running machine or a moved machine it reads as zeros
 * from the first instruction on, while the machine that was snapshotted keeps it. The memory is
 * there again for a new secret, and covered as before. cs_changed tells when to make one.
 *
 * The memory, all CS_SECRET_MAX bytes of it, is zeros at first. It is in no core dump, and it is
 * not there at all in a child of fork(2): to touch it or pass it to one of these functions is a
 * fault. Covered is what lies in it: copies that the program makes elsewhere (on the stack, in a
 * library's own structures, in a kernel buffer) are not.
 *
 * Fails with CS_E_NOT_COVERED if clonesafed or the VMM can't promise that, unless `flags` allows
 * memory without the promise. Waits up to 12 seconds for the agent. Not in a signal handler. */
#define CS_SECRET_MAX 4064
#define CS_SECRET_ALLOW_UNCOVERED 1u /* memory that is as secret as any other will do */
CS_API CS_MUST_USE int cs_secret_alloc(size_t size, unsigned flags, void** memory);
/* 1 if what lies at `memory` is in no snapshot, 0 if it is as any other memory; CS_E_INVALID if
 * `memory` did not come from cs_secret_alloc. What is covered stays so until it is freed, also when
 * the agent ends or is started again. */
CS_API CS_MUST_USE int cs_secret_covered(const void* memory);
/* Erases and gives back. NULL is ignored. */
CS_API void cs_secret_free(void* memory);

/* Describes this process's safety. `size` is sizeof(struct cs_status_report); a library that knows
 * more or fewer fields fills or zeroes what the caller has. */
CS_API CS_MUST_USE int cs_status(struct cs_status_report* status, size_t size);

/* A static text for a CS_E_ code, 0, or any other number. Never NULL. */
CS_API const char* cs_strerror(int code);
/* The name of a tier as documentation and reports print it: "none", "lagging", ... */
CS_API const char* cs_tier_name(uint32_t tier);
/* The same for CS_SEPARATION_: "none", "kernel", "processor", "host". */
CS_API const char* cs_separation_name(uint32_t separation);

#ifdef __cplusplus
}
#endif

#endif /* CLONESAFE_CLONESAFE_H_ */
