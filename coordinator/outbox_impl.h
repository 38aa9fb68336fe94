/*
 * What the files of the outbox share. outbox.c: places, and entries from the stream to the engine
 * and back (the rules of that are in outbox_item.h); outbox_poll.c: when Redis is asked, and for
 * what.
 */
#ifndef COORDINATOR_OUTBOX_IMPL_H
#define COORDINATOR_OUTBOX_IMPL_H

#include "base/log.h"
#include "coordinator/outbox.h"
#include "coordinator/outbox_entry.h"
#include "coordinator/outbox_item.h"
#include "coordinator/outbox_place.h"
#include "redis/redis.h"

enum {
    OUTBOX_READ_MAX =
        128, /* entries of a place in flight that were read; at least one per stream */
    OUTBOX_CLAIM_MAX = 64,   /* and that were taken over */
    OUTBOX_REFUSED_MS = 500, /* after the engine refused: nothing is read meanwhile */
    OUTBOX_POLL_MIN_MS = 10, /* between reads that cannot wait, while entries come */
    OUTBOX_ID_SIZE = 48,
};

#define OUTBOX_GROUP "sagad"
#define OUTBOX_BEGIN "0-0" /* the cursor of a sweep that looks at all */

/* One that was read, until it is acknowledged or given up. */
struct entry {
    struct stream *stream;
    size_t *count; /* the counter of its place in which it stands */
    struct entry *next;
    struct outbox_item item;
    char id[OUTBOX_ID_SIZE];
};

struct stream {
    struct place *place;
    char *key, *dead_key;
    bool usable, failing;
    char cursor[OUTBOX_ID_SIZE]; /* where the next look for silent readers begins */
    struct entry *stored;        /* to be acknowledged at the end of the turn */
    int64_t length, pending, oldest_ms;
};

/*
 * Two activities: a round of sweeps over the streams now and then, one after the other, the first
 * round before anything is read, and one after the other while much is to be taken over; and
 * reading, again when all of the last read was answered.
 */
struct place {
    struct outbox *outbox;
    char *name;
    struct redis *reader, *writer;
    struct stream *streams;
    size_t stream_count;
    size_t read_count, claim_count; /* entries in flight */
    bool swept;                     /* every stream was looked at since the last failure */
    bool sweeping;                  /* a command is under way */
    size_t reads;                   /* so many are */
    bool mode_known;                /* of this connection: `split` is right */
    bool waits;                     /* for replicas, before entries are taken */
    bool split;                     /* each stream is read by itself */
    int64_t poll_ms;                /* split: how long the next pause is */
    size_t sweep_next;              /* stream_count: the round is over */
    bool behind;                    /* the round took over some, and maybe not all */
    bool refused;                   /* the engine has refused since it began */
    int64_t sweep_at_ms, read_at_ms;
    struct loop_timer timer;
    struct loop_task run_task, ack_task;
    bool failing; /* reads do */
};

struct outbox {
    struct loop *loop;
    struct outbox_env env;
    char *consumer;
    int64_t timeout_ms, silence_ms, sweep_ms;
    struct alerts *alerts; /* or NULL */
    bool gauges, stopped;
    struct place *places;
    size_t place_count;
    struct outbox_entry parsed; /* scratch */
};

static inline int64_t place_now(const struct place *place)
{
    return loop_now_ms(place->outbox->loop);
}

/* Of a command that is sent now. */
static inline int64_t place_deadline(const struct place *place)
{
    return place_now(place) + place->outbox->timeout_ms;
}

/* One log line when a stream begins to fail, one when that is over. */
void stream_judge(struct stream *stream, const struct redis_result *result);

/* ---- outbox.c ---- */

/* Entries as XRANGE gives them become submits; they stand in `count` until they are settled. */
void stream_take_all(struct stream *stream, const struct redis_value *items, size_t *count);

/* ---- outbox_poll.c ---- */

void place_run(void *place);          /* does what is to be done now, and sets the timer */
void place_wake(struct place *place); /* place_run at the end of the turn */

#endif
