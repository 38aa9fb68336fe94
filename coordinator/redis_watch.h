/*
 * Looks at Redis again after each reconnect and every ten seconds, and logs what has changed since
 * the last look. What to do about it is for a person: to end would help nobody, since what is in
 * work would stand still as well.
 */
#ifndef COORDINATOR_REDIS_WATCH_H
#define COORDINATOR_REDIS_WATCH_H

#include "coordinator/redis_check.h"
#include "net/loop.h"

struct redis_watch;

struct redis_watch_conf {
    const char *address; /* for the log; must outlive the watch */
    struct redis_promise promise;
    int64_t timeout_ms; /* of one look */
};

/* `known`: the verdict that the log has already. Takes redis_on_connect for itself. */
struct redis_watch *redis_watch_open(struct loop *loop, struct redis *redis,
                                     const struct redis_watch_conf *conf,
                                     const struct redis_verdict *known);
/* Only when Redis has nothing in flight. NULL is fine. */
void redis_watch_free(struct redis_watch *watch);
void redis_watch_stop(struct redis_watch *watch); /* looks no more; NULL is fine */

#endif
