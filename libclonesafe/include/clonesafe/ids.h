/* Identifiers that stay unique when the virtual machine is cloned: UUIDs of versions 1, 6 and 7
 * beside clonesafe.h's version 4 (RFC 9562), ULIDs, and Snowflakes with a leased worker id.
 *
 * What it promises: no identifier made from here after a restore is also made by the machine that
 * the snapshot was taken of, or by a sibling; none made in a child of fork(2) by its parent; and no
 * two by two threads or by one. From when on after a restore is the tier, see cs_status.
 *
 * Thread-safety: every function may be called from any thread at any time. UUIDs and ULIDs come
 * from a state of the thread's own: threads share nothing. Fork-safety: every function works in a
 * child of fork(2), also of a multi-threaded process. Clone-safety: every function may be
 * interrupted by a snapshot at any instruction. Not async-signal-safe: an UUID or ULID asked for
 * by a signal handler that interrupted a call of the same thread is CS_E_BUSY; Snowflakes must not
 * be asked for in signal handlers. errno is left as it was.
 *
 * Functions that can fail return 0 or a negative CS_E_ code, and leave zeros in what they should
 * have filled. C11 and C++17.
 */
#ifndef CLONESAFE_IDS_H_
#define CLONESAFE_IDS_H_

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "clonesafe/clonesafe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* UUIDs. Besides what is named below they fail as cs_random does. */

/* Version 1 (RFC 9562, 5.1), and version 6 (5.6), the same with its time in an order that sorts.
 * Node and clock sequence are random and a thread's own; both are drawn anew whenever the
 * generation, the reseed epoch or the process changes. No hardware address is used. A clock that
 * was set back by more than a millisecond brings the next clock sequence and a new node. CS_E_CLOCK
 * if the clock stands beyond the year 5236. */
CS_API CS_MUST_USE int cs_uuid1(unsigned char uuid[16]);
CS_API CS_MUST_USE int cs_uuid6(unsigned char uuid[16]);

/* Version 7 (RFC 9562, 5.7). Each is greater than the one that this thread made before, also when
 * the clock is set back: 6.2, method 2, with 74 random bits in a new millisecond, and 48 random
 * bits added in the same one. All 74 are drawn anew when the generation, the reseed epoch or the
 * process changes. CS_E_CLOCK if the clock stands beyond the year 10889. */
CS_API CS_MUST_USE int cs_uuid7(unsigned char uuid[16]);

/* Reads one of the RFC's two forms: 36 characters as cs_uuid_text writes them, or those after
 * "urn:uuid:". Upper and lower case are equal. Anything else is CS_E_INVALID: another length,
 * braces, blanks, missing hyphens. Every version and variant is taken, also nil and max. */
CS_API CS_MUST_USE int cs_uuid_parse(const char* text, size_t length, unsigned char uuid[16]);
/* 1 to 15; 0 for NULL and for what is of no version: nil, max, and variants that aren't the RFC's.
 */
CS_API int cs_uuid_version(const unsigned char uuid[16]);
/* The time in a UUID of version 1, 6 or 7, of any other CS_E_INVALID. It may be before 1970. */
CS_API CS_MUST_USE int cs_uuid_time(const unsigned char uuid[16], struct timespec* time);

/* ULIDs (github.com/ulid/spec): 48 bits of milliseconds since 1970, and 80 random bits. Each is
 * greater than the one that this thread made before, by the same rules as version 7: in the same
 * millisecond 48 random bits are added, and if that overflows the next one is begun. */
CS_API CS_MUST_USE int cs_ulid(unsigned char ulid[16]);
/* 26 characters of Crockford's base 32 in upper case, and a terminating zero. Can't fail; of
 * NULL the text is empty. */
CS_API void cs_ulid_text(const unsigned char ulid[16], char text[27]);
/* Reads 26 such characters in upper or lower case. Anything else is CS_E_INVALID, also I, L, O and
 * U, and a first character above 7, which would not fit. */
CS_API CS_MUST_USE int cs_ulid_parse(const char* text, size_t length, unsigned char ulid[16]);
/* Its milliseconds since 1970; 0 of NULL. */
CS_API uint64_t cs_ulid_time(const unsigned char ulid[16]);

/* Snowflakes: 64-bit identifiers, the sign bit 0, then {milliseconds since an epoch, worker id,
 * sequence}. What makes them unique is that no two processes have one worker id at a time. So the
 * id is leased: somebody who knows all the workers, the lessor, gives it, and the lease ends when
 * the machine is cloned or restored or the process is forked. Until the lessor gives another one,
 * there are no identifiers, rather than a sibling's. The number of a clone is no lease: a clone of
 * the clone has it too. */

/* How identifiers are laid out. All who make them for one purpose need the same. */
struct cs_snowflake_config {
  uint64_t epoch_ms;     /* time 0, in Unix milliseconds */
  uint8_t time_bits;     /* the three add up to 63, or are all 0 for 41, 10 and 12 */
  uint8_t worker_bits;   /* at most 32 */
  uint8_t sequence_bits; /* 1 to 32 */
  /* No lease on a machine below this CS_TIER_: what is told of a restore too late makes a sibling's
   * identifiers until then. CS_TIER_NONE takes every machine. */
  uint8_t min_tier;
  uint32_t reserved; /* 0 */
};
/* The layout of a NULL configuration: 41, 10 and 12 bits from 2020-01-01 on, which last to 2089. */
#define CS_SNOWFLAKE_EPOCH_MS UINT64_C(1577836800000)

/* A worker id as a lessor gives it. */
struct cs_lease {
  uint64_t worker;
  uint64_t duration_ms; /* from before it was asked for; 0: until something changes */
  /* The last Unix millisecond in which an earlier holder may have made an identifier. 0 if it is
   * not known: then it is taken to be the present one. */
  uint64_t used_until_ms;
  void* handle; /* the lessor's */
};

/* Who gives worker ids: a folder of this machine (cs_file_lessor), the operator's document
 * (cs_metadata_lessor), or a program's own functions,
 * which ask the operator's metadata service, a database or a coordinator. None may call back into
 * the Snowflakes that it serves. They are called by whichever thread asks for an identifier, one at
 * a time but for `advance`, and with no lock of this library's held that another function takes. */
struct cs_lessor {
  void* context;
  /* Fills `lease` with a worker id below `workers` that nobody else has, here or on any machine.
   * CS_E_NO_LEASE: none is free now. Other codes are handed to who asked for an identifier. */
  int (*acquire)(void* context, uint64_t workers, struct cs_lease* lease);
  /* Gives it back. `lost`: it isn't ours any more, because this is a clone or a child of who
   * got it, who may go on to use it; free what belongs to it here, and give nothing back.
   * `last_ms` is the last Unix millisecond in which it was used. May be NULL. */
  void (*release)(void* context, const struct cs_lease* lease, int lost, uint64_t last_ms);
  /* Called before an identifier of a Unix millisecond beyond `*until_ms`, which it moves on: a
   * lessor that remembers it can tell the next holder, should this one die. 0, or a CS_E_ code and
   * no identifier is made. Must not block long. May be NULL. */
  int (*advance)(void* context, const struct cs_lease* lease, uint64_t* until_ms);
  void (*destroy)(void* context); /* by cs_snowflake_free, last. May be NULL. */
};

/* A lessor for the processes of one machine: a file `worker-N` in `folder` for each worker id,
 * locked (F_OFD_SETLK) as long as the lease lasts, so that a process that dies gives it back. The
 * folder must exist and be writable, though not by everybody (CS_E_INVALID), and all processes that
 * make identifiers for one purpose use it. A folder below /run is best.
 *
 * A lock on one machine says nothing of another, so each machine needs a range of its own, or only
 * one may use this lessor. Clones are other machines with copies of the folder: the file
 * `generation` in it says which generation it belongs to, and in another, also in a program that
 * starts there later, there are no leases (CS_E_NO_LEASE). A machine that comes back with another
 * generation after a reboot needs a new folder, which is why one in memory is best.
 *
 * CS_LESSOR_SHARED_FOLDER leaves that check out. It is for a folder that is the same one in every
 * clone, and whose server keeps the clones' locks apart. A network file system that was mounted
 * when the snapshot was taken doesn't: the clones speak as one client, and each would be given the
 * other's locks. Mount it again after a restore, before the next identifier. virtiofs and 9p keep
 * locks inside each guest unless they are told otherwise: there the flag is wrong. */
#define CS_LESSOR_SHARED_FOLDER 1u
CS_API CS_MUST_USE int cs_file_lessor(const char* folder, unsigned flags, struct cs_lessor* lessor);

/* A lessor for machines that their operator gives worker ids: in the agent's metadata document, the
 * file `document` (NULL: /run/clonesafe/metadata), stands once `clonesafe_worker_ids` and then 7 or
 * 128-191, as in `clonesafe_worker_ids = 128-191` or {"clonesafe_worker_ids": "128-191"}; at most
 * 64 KiB. The processes of the machine share these ids through `folder`, as with cs_file_lessor.
 *
 * The operator gives each restore a document of its own, and ids that no other machine has, or had
 * until the clocks have passed it. A clone that was given none has no lease. Nor has any machine
 * whose page does not say CS_STATE_SAFE in its generation: so long the document may be the
 * source's. An id above what the layout takes, or a document that can't be read as above, is
 * CS_E_INVALID when an identifier is asked for. Otherwise as cs_file_lessor. */
CS_API CS_MUST_USE int cs_metadata_lessor(const char* document, const char* folder,
                                          struct cs_lessor* lessor);

typedef struct cs_snowflake cs_snowflake;

/* Makes a source of Snowflakes for all threads of the process. It asks for no lease yet. `config`
 * may be NULL. The lessor belongs to the source from then on, unless this fails. CS_E_INVALID,
 * CS_E_MEMORY. */
CS_API CS_MUST_USE int cs_snowflake_new(const struct cs_snowflake_config* config,
                                        const struct cs_lessor* lessor, cs_snowflake** snowflake);
/* Gives the lease back and frees. No thread may use it any more. NULL is ignored. */
CS_API void cs_snowflake_free(cs_snowflake* snowflake);

/* The next identifier, or a code at once. Without a lease it asks the lessor, once.
 * CS_E_NO_LEASE: there is none, or another thread is asking for it. CS_E_CLOCK: all of this
 * millisecond's are used, or the clock was set back and those of the last one are, or it stands
 * outside of the layout's time. */
CS_API CS_MUST_USE int cs_snowflake_try(cs_snowflake* snowflake, uint64_t* id);
/* The same, but what may pass is waited for: a lease, asked for again and again, and the clock.
 * The last code if `timeout_ms` pass; below 0 there is no end to it. */
CS_API CS_MUST_USE int cs_snowflake_next(cs_snowflake* snowflake, int64_t timeout_ms, uint64_t* id);

struct cs_snowflake_parts {
  uint64_t unix_ms;
  uint64_t worker;
  uint64_t sequence;
};
/* Takes an identifier apart. CS_E_INVALID if its sign bit is set, or for a bad `config`. */
CS_API CS_MUST_USE int cs_snowflake_split(const struct cs_snowflake_config* config, uint64_t id,
                                          struct cs_snowflake_parts* parts);

#ifdef __cplusplus
}
#endif

#endif /* CLONESAFE_IDS_H_ */
