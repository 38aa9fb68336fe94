/*
 * Port: what the engine needs from a store. store_redis implements it over the Lua scripts, the
 * simulator in memory.
 *
 * Every call completes exactly once, never from inside the call. Times are the store's own (Redis
 * TIME). All writes are fenced: they name the owner, its epoch and the revision they build on. The
 * owner's name is unique to each start of a process: when the store goes back in time, epochs are
 * given out a second time, and only the name then tells the two owners apart.
 */
#ifndef COORDINATOR_STORE_H
#define COORDINATOR_STORE_H

#include "coordinator/txn.h"

enum store_status {
    STORE_OK,
    STORE_EXISTS,    /* create: the gid is known; take of a prepared one: it is not prepared any
                        more; `state` and `rollback_reason` tell */
    STORE_FENCED,    /* update: another owner or another revision; nothing was changed */
    STORE_NOT_FOUND, /* no such transaction */
    STORE_CONFLICT,  /* register: the transaction does not allow it; take of a prepared one: it is
                        of another type; `message` says why */
    STORE_NOT_DUE,   /* take of an overdue one: not overdue any more; nothing was changed */
    STORE_FINISHED,  /* take: it has ended; `txn` tells how */
    STORE_REFUSED,   /* the store is there but refused for now (loading, read-only, full): nothing
                        done */
    STORE_UNKNOWN,   /* time-out or lost connection: may or may not have happened */
};

struct store_result {
    enum store_status status;
    const char *message;          /* REFUSED, UNKNOWN, CONFLICT: why; else "" */
    int64_t now_ms;               /* the store's time, when it answered; else 0 */
    enum txn_status state;        /* EXISTS, FENCED: the stored status */
    struct slice rollback_reason; /* EXISTS; valid during the callback */
    enum txn_type type;           /* EXISTS: of the one that is stored */
    struct txn *txn;              /* take, load with OK or FINISHED: the receiver owns it */
};
typedef void (*store_cb)(void *arg, const struct store_result *result);

/* One line of the history. */
struct store_note {
    struct slice op;     /* "01.action", or a status for a transition of the whole */
    struct slice result; /* "SUCCESS", "FAILURE", "ONGOING", "ERROR"; empty for transitions */
    int64_t duration_ms;
    struct slice note; /* error text or reason; cut at 256 bytes */
};

/* When the transaction is looked at by others: relative to the store's clock. */
struct store_due {
    int64_t in_ms; /* due time = now + in_ms; ignored when the status is final (then it is removed
                      and the record gets its time to live) */
    bool release;  /* give up ownership: whoever finds it due takes it */
    bool park;     /* update, with release: nobody finds it due, an operator must ask for it. Says
                      which ops are parked, and since when unless txn->parked_ms tells */
};

struct store_update {
    const struct txn *txn;  /* new state; only what is dirty is written, read during the call */
    enum txn_status expect; /* stored status it builds on */
    struct store_due due;
    const struct store_note *notes;
    size_t note_count;
};

enum store_take_which {
    STORE_TAKE_OVERDUE,
    STORE_TAKE_ANY,
    STORE_TAKE_PARKED,   /* only what is parked; else CONFLICT */
    STORE_TAKE_PREPARED, /* overdue or not; whoever drives one that was submitted is let alone */
};
struct store_take {
    enum store_take_which which;
    enum txn_type type; /* PREPARED: that it must have */
};

/* A branch that a client registers with a prepared transaction, or (workflow) what it reports of a
 * step that it has done itself. */
struct store_branch {
    enum txn_type type; /* must be that of the transaction */
    struct slice id;
    struct slice urls[TXN_BRANCH_OPS];
    struct slice payload;
    struct slice op;       /* workflow: name of the op, else empty */
    enum op_status status; /* workflow */
};

struct store_overdue {
    enum store_status status; /* OK, REFUSED, UNKNOWN */
    int64_t now_ms;
    const struct slice *gids; /* overdue ones, oldest first; valid during the callback */
    size_t count;
    int64_t next_ms; /* due time of the first that is not overdue yet; 0: none */
};
typedef void (*store_overdue_cb)(void *arg, const struct store_overdue *overdue);

struct store {
    const struct store_ops *ops;
};

struct store_ops {
    /* Stores a transaction that is not there, as it stands in memory (epoch, revision, status, ops:
     * for a new one 1, 0, submitted, prepared; the engine also stores anew one that the store has
     * lost), with this coordinator as its owner. created_ms 0: now. OK sets nothing in txn: the
     * caller takes created_ms from now_ms. A create that is sent again answers EXISTS. */
    void (*create)(struct store *store, const struct txn *txn, struct store_due due, store_cb cb,
                   void *arg);
    /* Writes revision txn->revision, which must be one more than the stored one. The same update
     * sent again (same owner, epoch and revision) answers OK and changes nothing. A released
     * transaction has no owner: every update is FENCED until somebody takes it. An update that does
     * not park ends what parked it before. */
    void (*update)(struct store *store, const struct store_update *update, store_cb cb, void *arg);
    /* Makes this coordinator the owner: epoch + 1, due time as given. The answer carries the whole
     * transaction with its new epoch. An owner that did not release it (whoever it was) may have
     * got further than it stored, because progress is stored lazily: the record is then marked for
     * good (field `doubt`), and txn->sure is true only without that mark. `create` stores the mark
     * when txn->sure is false. */
    void (*take)(struct store *store, struct slice gid, struct store_take how, struct store_due due,
                 store_cb cb, void *arg);
    /* Adds a branch to a transaction that is prepared and owned by nobody; OK also when it is there
     * already, and the same. */
    void (*add_branch)(struct store *store, struct slice gid, const struct store_branch *branch,
                       store_cb cb, void *arg);
    /* Reads without changing anything. */
    void (*load)(struct store *store, struct slice gid, store_cb cb, void *arg);
    /* Up to `limit` overdue transactions of one partition. */
    void (*overdue)(struct store *store, int partition, int limit, store_overdue_cb cb, void *arg);
    int (*partitions)(const struct store *store);
};

#endif
