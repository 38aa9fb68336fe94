/*
 * Consumes outbox streams (docs/outbox.md): each entry becomes a submit of the engine, and is
 * deleted when the store has acknowledged that. Delivery is at least once; the gid makes it one
 * message. All coordinators share a stream by a consumer group; entries of one that is gone are
 * taken over by the others.
 *
 * Where replicas are waited for, an entry becomes a message only when they have it: an entry that a
 * failover loses, with the change that left it, is none.
 *
 * Each place (outbox_place.h) has two connections: one for reads, which may block, one for the
 * rest. At most a fixed number of entries of a place is in flight; what the engine refuses for now
 * stays in the stream and is tried again.
 */
#ifndef COORDINATOR_OUTBOX_H
#define COORDINATOR_OUTBOX_H

#include "base/conf.h"
#include "coordinator/alerts.h"
#include "coordinator/engine.h"
#include "coordinator/metrics.h"
#include "coordinator/topic_lookup.h"
#include "net/loop.h"

struct outbox;

struct outbox_conf {
    const struct conf_map *places; /* checked: outbox_place_parse */
    const char *consumer;          /* this process among all coordinators; unique to this start */
    const char *redis, *redis_user, *redis_password; /* the coordinator's own */
    int redis_db;
    int wait_replicas; /* of places that do not say it: outbox_place.h */
    int64_t wait_ms;   /* how long replicas may take */
    int64_t connect_timeout_ms;
    int64_t timeout_ms;    /* of one command */
    int64_t silence_ms;    /* an entry that its reader keeps for so long is taken over */
    struct alerts *alerts; /* hears of dead letters; or NULL */
    bool gauges;           /* this process reports what waits in the streams */
};

/* What becomes of entries there. */
struct outbox_env {
    struct engine *engine;
    struct topics *topics;
    struct archive *archive;
    struct metrics *metrics;
};

/* Begins to read. An unreachable Redis is waited for. */
struct outbox *outbox_open(struct loop *loop, const struct outbox_conf *conf,
                           const struct outbox_env *env);
/* Reads no more; what is in flight goes on. */
void outbox_stop(struct outbox *outbox);
size_t outbox_in_flight(const struct outbox *outbox); /* entries read and not settled */
/* After the engine was freed, within a turn of the loop that runs to its end. */
void outbox_free(struct outbox *outbox);

#endif
