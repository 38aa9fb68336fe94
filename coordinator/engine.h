/*
 * The engine: the only owner of live transactions. It feeds events to the rules of each type,
 * performs their effects through the ports and enforces the limits. No libevent, no hiredis: time
 * comes in through engine_tick and the clock function, so that the simulator runs it unchanged.
 *
 * Order of things (invariants I1, I2): a transaction is called only after the store acknowledged
 * it; the first compensation only after the decision to abort was acknowledged. Progress of
 * branches is stored with the next transition or within `lazy_ms`.
 *
 * Callbacks come exactly once and never from inside the call that asked: from engine_tick, or when
 * the store or the caller completes something.
 */
#ifndef COORDINATOR_ENGINE_H
#define COORDINATOR_ENGINE_H

#include "base/rng.h"
#include "coordinator/caller.h"
#include "coordinator/store.h"

struct engine;

struct engine_conf {
    int64_t retry_interval_ms;     /* base of the back-off when the transaction gives none */
    int64_t retry_interval_max_ms; /* cap of the back-off */
    int64_t park_after;            /* failures in a row of one op; 0: tried for ever */
    int64_t request_timeout_ms;    /* of one branch call when the transaction gives none */
    int64_t timeout_to_fail_ms;    /* of a prepared tcc, xa or msg that gives none */
    int64_t lease_ms;              /* an owner that is silent for so long is taken for dead */
    int64_t lazy_ms;               /* progress is stored after at most so long; 20 */
    int64_t live_max;              /* transactions in memory; beyond: ERR_BUSY */
    int64_t live_bytes_max;        /* that they take together; beyond: ERR_BUSY; 0: no limit */
};

/* A call that went wrong and is not the last of its op, or a transaction that is parked now. */
struct engine_trouble {
    const struct txn *txn;
    const struct txn_branch *branch;
    enum txn_op op;
    enum txn_park parked; /* PARK_NOT: it will be tried again */
    int64_t attempts;     /* failed ones in a row */
    struct slice error;   /* of the last; empty when it is not known any more */
};

/* For metrics and alerts; all members may be NULL. */
struct engine_observer {
    void (*submitted)(void *arg, const struct txn *txn); /* the store has this status */
    void (*finished)(void *arg, const struct txn *txn, int64_t duration_ms);
    void (*called)(void *arg, const struct txn *txn, const char *op, enum call_verdict verdict,
                   int64_t duration_us);                                   /* `op`: txn_op_label */
    void (*released)(void *arg, const struct txn *txn, int64_t due_in_ms); /* waits in the store
                                  now: tells recovery when to look */
    void (*troubled)(void *arg, const struct engine_trouble *trouble);
    void *arg;
};

struct engine_env {
    struct store *store;
    struct caller *caller;
    int64_t (*now_ms)(void *arg); /* monotonic */
    void *now_arg;
    uint64_t seed; /* of the jitter */
    struct engine_observer observer;
};

struct engine *engine_new(const struct engine_conf *conf, const struct engine_env *env);
/* Forgets everything without storing (what a crash does); waiters get ERR_CANCELLED from inside it.
 * The caller and the store are closed before: nothing of theirs may complete afterwards. */
void engine_free(struct engine *engine);
/* Does what is due and returns the time when it wants to be called again (INT64_MAX: never).
 * Call it again also after any callback or call into the engine: engine_next_ms tells when. */
int64_t engine_tick(struct engine *engine);
int64_t engine_next_ms(const struct engine *engine);
/* Called whenever engine_next_ms became earlier. */
void engine_on_wake(struct engine *engine, void (*fn)(void *arg), void *arg);

int64_t engine_live_count(const struct engine *engine);
/* Stops taking new work; live ones are released to the store as soon as no call of theirs is in
 * flight. `done` when none is left. */
void engine_drain(struct engine *engine, void (*done)(void *arg), void *arg);
/* While draining: waits for calls no longer. What is left is released at once; its next owner makes
 * them again, as after any release: whatever may have been called is called again, or undone. */
void engine_abandon(struct engine *engine);
/* New values for all but lease_ms and lazy_ms, for what happens from now on. */
void engine_tune(struct engine *engine, const struct engine_conf *conf);

/* ---- requests ---- */

struct engine_answer {
    enum err err; /* OK: `status` is the transaction's real state.
                   * BUSY: live_max, live_bytes_max or draining. UNAVAILABLE: the store is away;
                   * whether it was done is unknown, asking again with the same gid is safe.
                   * NOT_FOUND, CONFLICT (the status forbids it), CANCELLED. */
    enum txn_status status;
    enum txn_type type; /* submit, abort: of the transaction, when err is OK or CONFLICT */
    struct slice rollback_reason; /* valid during the callback */
    const char *message;          /* with an error: for a person */
};
typedef void (*engine_cb)(void *arg, const struct engine_answer *answer);

enum engine_wait_mode {
    ENGINE_WAIT_STORED, /* answer when it is stored */
    ENGINE_WAIT_SETTLE, /* answer when it ended, or as soon as something must be tried again later
                         */
    ENGINE_WAIT_END,    /* answer when it ended, or after wait_ms with the state of then */
};
struct engine_wait {
    enum engine_wait_mode mode;
    int64_t wait_ms; /* ENGINE_WAIT_END; for SETTLE an upper bound as well (0: none) */
};

/* Stores and starts a checked spec, or lets the prepared transaction of this gid go on (then its
 * steps are those that were prepared). A known gid is never restarted: the answer tells its real
 * state (CONFLICT when it is of another type), and with a wait mode it is waited for, also when
 * another coordinator has it (by looking into the store now and then). A tcc without declared
 * tries, an xa and a msg without steps must have been prepared: NOT_FOUND. */
void engine_submit(struct engine *engine, const struct txn_spec *spec, struct engine_wait wait,
                   engine_cb cb, void *arg);
/* Stores a checked spec as prepared: it waits for the client's submit or abort, or for its
 * time-out. Nobody owns it meanwhile. Known, of this type and still prepared: OK, nothing is
 * changed; else CONFLICT. */
void engine_prepare(struct engine *engine, const struct txn_spec *spec, engine_cb cb, void *arg);
/* Adds a branch to a prepared transaction. The same again: OK. CONFLICT when it is not prepared any
 * more, is of another type, or has another branch with this id; INVALID when it has too many;
 * NOT_FOUND. */
void engine_register(struct engine *engine, struct slice gid, const struct store_branch *branch,
                     engine_cb cb, void *arg);
/* The client of a workflow says how it ended: succeed or failed; CONFLICT when it had ended
 * otherwise before, or is no workflow. */
struct engine_finish {
    enum txn_status status;
    struct slice reason; /* of a failure */
    struct slice result;
};
void engine_finish(struct engine *engine, struct slice gid, const struct engine_finish *finish,
                   engine_cb cb, void *arg);
/* Turns an unfinished transaction round: a saga also when it was submitted; a prepared msg fails at
 * once. Repeated: OK. When another coordinator has it, it is taken over (epoch + 1). CONFLICT when
 * it cannot be aborted (any more). */
void engine_abort(struct engine *engine, struct slice gid, struct slice reason, engine_cb cb,
                  void *arg);
/* The same; with ENGINE_WAIT_SETTLE the answer comes when all is undone, or as soon as something
 * must be tried again later (aborting). */
void engine_abort_wait(struct engine *engine, struct slice gid, struct slice reason,
                       enum engine_wait_mode mode, engine_cb cb, void *arg);
/* Ends it as failed without calling any branch; CONFLICT when it has ended. */
void engine_force_stop(struct engine *engine, struct slice gid, engine_cb cb, void *arg);
/* Tries now what waits for a retry, or is parked; CONFLICT when it has ended. */
void engine_retry_now(struct engine *engine, struct slice gid, engine_cb cb, void *arg);
/* The same; CONFLICT also when it is not parked: whoever drives it is let alone. */
void engine_unpark(struct engine *engine, struct slice gid, engine_cb cb, void *arg);
/* An operator has done one parked op by hand: it counts as succeeded, and the transaction goes on.
 * INVALID when it has no such branch or op, CONFLICT when this one is not parked. */
struct engine_resolve {
    struct slice branch_id, op; /* as in the history: "02", "compensate"; "00", "msg" */
    struct slice reason;        /* for the history */
};
void engine_resolve(struct engine *engine, struct slice gid, const struct engine_resolve *resolve,
                    engine_cb cb, void *arg);
/* Drives a transaction that `take` of the store returned with OK (due: lease_ms); it belongs to the
 * engine from now on. The lease counts from sent_ms, when the take was asked for. Of two records
 * with the same gid the one with the higher epoch stays. */
void engine_adopt(struct engine *engine, struct txn *txn, int64_t sent_ms);
int64_t engine_room(const struct engine *engine);  /* so many more may become live */
bool engine_has_room(const struct engine *engine); /* for one more */
/* It is driven here. Recovery leaves it alone, even when it is overdue: its lease is renewed at the
 * next moment, or the engine finds out itself that it was lost. */
bool engine_is_live(const struct engine *engine, struct slice gid);

#endif
