/* Hooks: functions of the program that run before a snapshot is taken and after the machine was
 * restored, cloned or moved, after an announced snapshot was not taken, and in a child of fork.
 *
 * When they run: in cs_poll, or in the watcher thread of cs_watch_start; never inside any other
 * function of this library, so that a caller of cs_random may hold any lock. The watcher thread
 * follows clonesafed where there is one: it runs the before-hooks when a snapshot is announced, the
 * after-hooks once the kernel's generator, clock and identity are repaired, and answers, so that a
 * snapshot isn't taken before the hooks have run, and a clone isn't called safe before they went
 * well (that takes root or the agent's group, see cs_watch_start).
 *
 * Order: after-hooks by priority, CS_PRIORITY_RNG first, and in order of registration within one;
 * before-hooks the other way round. Every hook runs, whatever became of those before it. One that
 * is registered while an event is handled is run from the next event on. If something changes while
 * the after-hooks run, they run again, so a hook must bear to be run twice.
 *
 * Deadlines: in the watcher thread a hook that hasn't returned within its deadline is reported as
 * CS_HOOK_LATE and left alone (no thread can be ended from outside), and the hooks after it run on
 * another thread. It is not called again before it has returned. In cs_poll hooks run on the
 * caller's thread, one after another: one that hangs, hangs the caller, and one that took too long
 * is reported as late.
 *
 * Thread-safety: every function may be called from any thread. Hooks of one event never run at the
 * same time, but for a late one. Fork-safety: in a child the hooks are registered, the watcher
 * thread isn't there; cs_poll works, and tells of the fork, and cs_watch_start starts another.
 * Clone-safety: every function and every hook may be interrupted by a snapshot at any instruction;
 * hooks are run in the clone then. Not for signal handlers: CS_E_BUSY if one interrupted this
 * library. Functions that can fail return a negative CS_E_ code. errno is left as it was. C11 and
 * C++17. */
#ifndef CLONESAFE_HOOKS_H_
#define CLONESAFE_HOOKS_H_

#include "clonesafe/clonesafe.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CS_PHASE_BEFORE_SNAPSHOT 1u
#define CS_PHASE_AFTER_RESTORE 2u

/* What happened. */
#define CS_KIND_SNAPSHOT 1u /* before-hooks: one was announced */
#define CS_KIND_RESTORE 2u  /* cloned or restored; which of them only an agent could tell */
#define CS_KIND_CLONE 3u    /* this is a clone: another identity */
#define CS_KIND_MOVE 4u     /* the same machine elsewhere: the identity is kept */
#define CS_KIND_RESUME 5u   /* the machine goes on after a snapshot of it, or was moved */
#define CS_KIND_UNDONE 6u   /* the announced snapshot wasn't taken */
#define CS_KIND_FORK 7u     /* this is a child of the process that registered */

/* Priorities. A before-hook of the first runs last. */
#define CS_PRIORITY_RNG 0u         /* random generators and their seeds */
#define CS_PRIORITY_IDS 1u         /* generators of identifiers, leases, worker ids */
#define CS_PRIORITY_CRYPTO 2u      /* keys, sessions, tickets, precomputed values */
#define CS_PRIORITY_CONNECTIONS 3u /* pools and clients */
#define CS_PRIORITY_USER 4u        /* everything else */

/* What a hook returns. Any other number counts as CS_HOOK_FAIL_CLOSED. */
#define CS_HOOK_OK 0
/* Not yet: it is called again after the others, three times in all for one event. */
#define CS_HOOK_RETRY 1
/* The program must not serve as it is: the snapshot is refused, the machine is `degraded`. */
#define CS_HOOK_FAIL_CLOSED 2
/* Only in reports: it took longer than its deadline, or hasn't returned yet. */
#define CS_HOOK_LATE 3

#define CS_HOOK_NAME 48    /* bytes of a name with its terminating zero; longer ones are cut */
#define CS_HOOK_DETAIL 128 /* the same of the words about an outcome */

/* What a hook is told. Fields may be added at the end. */
struct cs_event {
  uint32_t phase;          /* CS_PHASE_ */
  uint32_t kind;           /* CS_KIND_ */
  uint32_t changes;        /* CS_CHANGED_ bits since the event before; 0 if undone */
  uint32_t attempt;        /* 1, more after CS_HOOK_RETRY */
  uint64_t number;         /* counts this process's events from 1 */
  uint64_t old_generation; /* as in cs_stamp */
  uint64_t new_generation; /* the same as the old one before a snapshot and in a resume */
  uint8_t restore_id[16];  /* zeros if there is no page and no agent */
  char* detail; /* CS_HOOK_DETAIL zeros; a hook may put words for the report there, with a zero */
};

typedef int cs_hook_function(const struct cs_event* event, void* argument);

/* Members that aren't named are zeros: use an initializer. */
struct cs_hook_options {
  cs_hook_function* function;
  void* argument;
  const char* name;     /* for reports; copied; NULL: "hook" */
  uint32_t priority;    /* CS_PRIORITY_ */
  uint32_t deadline_ms; /* 0: 5000 */
  /* Called with `argument` when the hook was unregistered and will not run again; may be NULL. */
  void (*release)(void* argument);
  uint64_t reserved[2]; /* zeros */
};

struct cs_hook;

/* Registers. 0, CS_E_INVALID, CS_E_MEMORY, CS_E_BUSY, or why cs_generation failed. */
CS_API CS_MUST_USE int cs_before_snapshot_hook(const struct cs_hook_options* options,
                                               struct cs_hook** hook);
CS_API CS_MUST_USE int cs_after_restore_hook(const struct cs_hook_options* options,
                                             struct cs_hook** hook);
/* Unregisters. Waits until the hook isn't running; called from inside that very hook, it returns at
 * once and the call that runs is the last one. So don't hold a lock that the hook takes. NULL is
 * ignored. */
CS_API void cs_hook_remove(struct cs_hook* hook);

/* Runs the after-hooks on this thread if something changed since they last ran. For programs with a
 * loop of their own and without a watcher thread; call it as often as they can bear to be late. A
 * few loads when nothing changed. Returns how many events were handled: 0 if there was none, if the
 * watcher thread runs in this process, or if another thread is at it. CS_E_BUSY inside a hook or in
 * a signal handler that interrupted this library; CS_E_UNSTABLE. cs_hooks_outcome tells how it
 * went. */
CS_API CS_MUST_USE int cs_poll(void);

/* For programs that learn of snapshots in a way of their own: runs the before-hooks now, on this
 * thread; and the after-hooks, as CS_KIND_UNDONE if nothing changed. The outcome of the event as
 * cs_hooks_outcome gives it, or CS_E_BUSY. */
CS_API CS_MUST_USE int cs_before_snapshot(void);
CS_API CS_MUST_USE int cs_after_restore(void);

/* How the last event went: CS_HOOK_OK if every hook returned that or there was no event yet, else
 * the largest of what its hooks came to. A hook that asked for a retry to the end counts as
 * CS_HOOK_RETRY. */
CS_API int cs_hooks_outcome(void);

/* What became of one hook in the last event. */
struct cs_hook_report {
  uint64_t event;       /* number of the event */
  uint64_t duration_us; /* of all its attempts; until now if it is still running */
  uint32_t phase;       /* CS_PHASE_ */
  uint32_t priority;
  int32_t result; /* CS_HOOK_ */
  uint32_t attempts;
  char name[CS_HOOK_NAME];
  char detail[CS_HOOK_DETAIL]; /* why it isn't CS_HOOK_OK */
};
/* Fills `reports` with up to `capacity` of them in the order in which the hooks ran, and returns
 * how many there are. `size` is sizeof(struct cs_hook_report). */
CS_API CS_MUST_USE int cs_hooks_report(struct cs_hook_report* reports, size_t size,
                                       size_t capacity);

/* Members that aren't named are zeros: use an initializer. */
struct cs_watch_options {
  uint32_t interval_ms;   /* how often it looks where no agent tells it; 0: 100 */
  uint32_t deadline_ms;   /* for all hooks of an event; 0: 4500 */
  uint32_t without_agent; /* 1: leaves clonesafed alone */
  uint32_t reserved32;    /* zero */
  uint64_t reserved[2];   /* zeros */
};
/* Starts the thread that runs the hooks; `options` may be NULL. Counted: every start takes a stop,
 * and the first one's options hold. The thread blocks all signals.
 *
 * The thread looks at the generation at every interval, and keeps a connection to clonesafed
 * (another socket in the environment variable CLONESAFE_AGENT_SOCKET, which set-user-id programs
 * ignore), which it makes again when the agent was restarted. As root or in the agent's
 * control_group the program is a tracked watcher, which the agent waits for (watchers_deadline_ms
 * of its configuration, 5 seconds by default: `deadline_ms` should be less); otherwise it is told
 * and nobody waits. With an agent, after-hooks run when it says that the machine is repaired, or
 * one second after the change was seen if it says nothing.
 *
 * When the deadline for all is over, the agent is told that the hooks failed; those that haven't
 * run yet still run.
 *
 * 0, CS_E_MEMORY (no thread), CS_E_INVALID, CS_E_BUSY. */
CS_API CS_MUST_USE int cs_watch_start(const struct cs_watch_options* options);
/* Takes back one start; the last one ends the thread, after the event that it is at. CS_E_BUSY
 * inside a hook; CS_E_INVALID if no start is left in this process. */
CS_API int cs_watch_stop(void);

/* How the watcher thread stands to the agent. */
#define CS_WATCH_OFF 0       /* there is no watcher thread in this process */
#define CS_WATCH_ALONE 1     /* no agent answers: it looks by itself */
#define CS_WATCH_UNTRACKED 2 /* the agent tells it, and waits for nobody */
#define CS_WATCH_TRACKED 3   /* the agent waits for it */
CS_API int cs_watch_state(void);

#ifdef __cplusplus
}
#endif

#endif /* CLONESAFE_HOOKS_H_ */
