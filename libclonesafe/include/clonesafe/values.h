/* Values that know their generation: cells that are built anew in a clone, values whose use after a
 * restore is an error, and the names under which a process takes part in a protocol.
 *
 * What "stale" means here: the machine was cloned or restored, or the process is a child of the one
 * that made the value. The machine that a snapshot was taken of goes on with its values.
 *
 * What can't be closed from inside: a value that was checked and handed to the kernel (a system
 * call, a virtio ring) just before a snapshot is sent by the source and by every clone. Have the
 * VMM or its host hold a clone's network until it is safe, or let the receiver sort out
 * duplicates.
 *
 * Thread-safety: every function may be called from any thread at any time. Fork-safety: every
 * function works in a child of fork(2), also where another thread was inside of it. Clone-safety:
 * every function may be interrupted by a snapshot at any instruction. Not async-signal-safe: a call
 * from a signal handler that interrupted this library may return CS_E_BUSY or wait forever. errno
 * is left as it was. Functions that can fail return 0 or a negative CS_E_ code, and an output holds
 * zeros then. C11 and C++17.
 */
#ifndef CLONESAFE_VALUES_H_
#define CLONESAFE_VALUES_H_

#include "clonesafe/clonesafe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A cell for what a program makes once and keeps: a connection pool, a seeded generator, a key, a
 * client, a worker id. Static, or as a member: zeroed memory with the three first fields filled in
 * is an empty cell. It must not be moved or copied once it was used. */
struct cs_cell {
  /* Which changes make its value stale: a sum of CS_CHANGED_ bits; 0 stands for
   * CS_CHANGED_GENERATION | CS_CHANGED_FORK. */
  unsigned changes;
  /* Called once for each value, when nobody has a handle on it any more; NULL if there is nothing
   * to do. `stale` are the CS_CHANGED_ bits for which it is stale, 0 if it is not: a stale
   * connection must be closed without a word (no TLS close_notify, no QUIT, no shutdown(2)), since
   * the peer takes it for the source's. */
  void (*release)(void* value, int stale, void* argument);
  void* argument; /* for `release` */
  /* Private. */
  uint32_t lock;
  uint32_t waits;
  uint64_t builder[2];
  void* current;
};

/* A counted reference to a value of a cell. The value stays, stale or not, until the last one is
 * given back. */
struct cs_handle;

/* Makes a value: 0 and `*value`, or any other number, which fails the call that wanted it. It may
 * call any function of this library but cs_once_per_generation for the same cell. Runs with no lock
 * held. */
typedef int cs_build(void* argument, void** value);

/* The cell's value, built by `build(argument)` if there is none or it is stale. One thread builds,
 * others that come meanwhile wait for it. If something changed while it built, what it built is
 * released and it builds again. If `build` fails, its result is this call's, and the next thread
 * tries anew; a thread that waited tries itself.
 *
 * Fails with what `build` returned; CS_E_BUSY: called from inside `build` for the same cell;
 * CS_E_UNSTABLE: something changed at every attempt; CS_E_MEMORY. */
CS_API CS_MUST_USE int cs_once_per_generation(struct cs_cell* cell, cs_build* build, void* argument,
                                              struct cs_handle** handle);
/* The value. It stays the same for the whole life of the handle. A NULL handle has none and is
 * stale, as if everything had changed. */
CS_API void* cs_handle_value(const struct cs_handle* handle);
/* Which of the cell's changes have made it stale: 0 or CS_CHANGED_ bits. */
CS_API int cs_handle_stale(const struct cs_handle* handle);
/* Another reference to the same value. */
CS_API struct cs_handle* cs_handle_copy(struct cs_handle* handle);
/* Gives a reference back; NULL is ignored. */
CS_API void cs_handle_release(struct cs_handle* handle);
/* Empties the cell: the next call builds. Before the cell's memory goes away, and whenever a value
 * turned out to be useless. Handles stay good. */
CS_API void cs_cell_clear(struct cs_cell* cell);

/* Steps that belong together: everything that is drawn or computed between cs_begin and a cs_commit
 * that succeeds was made in one generation of one process. Commit right before the step that others
 * see (a write(2), a reply), and start over if it fails:
 *
 *   do {
 *     if ((result = cs_begin(&stamp)) != 0) break;
 *     ... draw, compute, prepare ...
 *   } while ((result = cs_commit(&stamp)) == CS_E_STALE);
 */
CS_API CS_MUST_USE int cs_begin(struct cs_stamp* stamp);
/* 0, or CS_E_STALE if since then the machine was cloned or restored or this is another process. */
CS_API CS_MUST_USE int cs_commit(const struct cs_stamp* since);

/* Up to CS_TAGGED_MAX bytes with the stamp of the moment before they were made. Make one with
 * cs_tagged_random or cs_tagged_set, read it with cs_tagged_use only. A plain value: one must not
 * be changed by two threads at a time. */
#define CS_TAGGED_MAX 64
struct cs_tagged {
  struct cs_stamp stamp;
  uint32_t size;
  uint32_t reserved;
  unsigned char bytes[CS_TAGGED_MAX];
};
/* `size` bytes of cs_random. Fails as cs_random does. */
CS_API CS_MUST_USE int cs_tagged_random(struct cs_tagged* tagged, size_t size);
/* Bytes of the caller's, with the stamp that cs_begin gave before they were made. CS_E_STALE if
 * they are stale already. */
CS_API CS_MUST_USE int cs_tagged_set(struct cs_tagged* tagged, const struct cs_stamp* since,
                                     const void* bytes, size_t size);
/* Copies the bytes out; `size` is what it was made with. CS_E_STALE: cloned, restored or forked
 * since, the buffer holds zeros. It looks after the copy too. */
CS_API CS_MUST_USE int cs_tagged_use(const struct cs_tagged* tagged, void* buffer, size_t size);

/* A name for this process in this generation: a random UUID (version 4) from cs_random, drawn when
 * first asked for. Equal for all threads and calls until the machine is cloned or restored or the
 * process forks; then another one, and never again an earlier one. The machine that a snapshot was
 * taken of keeps it. Whether it changes in time is as for any draw: see cs_status. */
CS_API CS_MUST_USE int cs_instance_id(unsigned char id[16]);

/* A number for protocols that name their participants (leases, Paxos, vector clocks, a server that
 * fences by the largest token). It promises, while cs_instance_id stays the same, to stay the same
 * too, unless `after` asks for more; and otherwise to be
 *   larger than `after` (0 if there is nothing to keep), and than every number that this process or
 *   an ancestor of it was given, over forks, clones and restores alike;
 *   other than what a sibling gets, but for a chance of 1 in 10^12 for a pair of them;
 *   from 1 to 2^63 - 1.
 * So a peer can tell incarnations of one name apart, refuse what an ancestor still sends, and let
 * one of several siblings win. Which one wins means nothing: between siblings the order is chance,
 * and a clone fences the machine that it was cloned from if both go by one name. A program that is
 * started again gets a larger one most of the time, but for certain only if it kept the last one
 * and gives it as `after`. CS_E_INVALID: none is left above `after`. */
CS_API CS_MUST_USE int cs_fencing_epoch(uint64_t after, uint64_t* epoch);

#ifdef __cplusplus
}
#endif

#endif /* CLONESAFE_VALUES_H_ */
