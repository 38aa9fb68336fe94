/*
 * Finds unfinished transactions that nobody looks after: those of crashed coordinators, those that
 * wait for a retry, all after a restart. Looks into the due set of each partition at the start,
 * when the next one of it is due, and at least once a second; takes what is overdue, many at a time
 * and independent of each other, and hands it on. Also trims the list of recent transactions.
 *
 * Idle cost: one small script per partition and second, and two commands for trimming.
 */
#ifndef COORDINATOR_RECOVERY_H
#define COORDINATOR_RECOVERY_H

#include "coordinator/store_redis.h"
#include "net/loop.h"

struct recovery;

/* Who drives transactions: the engine. */
struct recovery_sink {
    bool (*has_room)(void *arg);                  /* for one more */
    bool (*is_live)(void *arg, struct slice gid); /* it is driven here already */
    /* The record belongs to the sink from now on; its lease counts from sent_ms. */
    void (*adopt)(void *arg, struct txn *txn, int64_t sent_ms);
    void *arg;
};

struct recovery_conf {
    int64_t lease_ms;  /* due time of what is taken */
    int64_t period_ms; /* each partition is looked at so often at least: 1000 */
    int batch;         /* overdue ones that are asked for at once: 64 */
    int takes_max;     /* takes in flight: 64 */
};
extern const struct recovery_conf recovery_conf_default; /* lease_ms 0: to be set */

/* `trim` may be NULL: no housekeeping. Begins at the next turn of the loop. */
struct recovery *recovery_new(struct loop *loop, struct store *store, struct store_redis *trim,
                              const struct recovery_conf *conf, const struct recovery_sink *sink);
/* Looks no more; answers that are still on their way are dropped (what they took waits until its
 * lease is over). */
void recovery_stop(struct recovery *recovery);
/* Only when the store has nothing in flight. */
void recovery_free(struct recovery *recovery);

/* Somebody must look at this transaction in so many ms: engine_observer.released. */
void recovery_expect(struct recovery *recovery, struct slice gid, int64_t in_ms);

struct recovery_stats {
    int64_t looks;     /* due sets that were listed */
    int64_t taken;     /* handed to the sink */
    int64_t in_flight; /* takes */
};
struct recovery_stats recovery_stats(const struct recovery *recovery);

#endif
