/*
 * Tells people what needs them: a line in the log, and a POST of JSON to a webhook. What cannot be
 * delivered is tried again a few times and then given up; what does not fit into the queue is
 * dropped. Both are counted. Nothing waits for any of it.
 *
 * A parking or a dead letter is told once, a failed call after each attempt. So the former are sent
 * first, and push the oldest of the latter out of a full queue.
 */
#ifndef COORDINATOR_ALERTS_H
#define COORDINATOR_ALERTS_H

#include "coordinator/engine.h"
#include "coordinator/metrics.h"
#include "net/loop.h"

struct alerts;

enum {
    ALERTS_WAITING_MAX = 1000, /* not delivered yet */
    ALERTS_TRIES = 6,          /* of each */
    ALERTS_LOGGED_MAX = 10,    /* lines a second about calls that will be tried again */
};

struct alerts_conf {
    const char *webhook;    /* checked http url, copied; "": only the log */
    int64_t retry_limit;    /* failures in a row of one op, from which on each is told; 0: none */
    int64_t retry_delay_ms; /* before the second try; it doubles */
    int64_t timeout_ms;     /* of one try */
};

struct alerts *alerts_new(struct loop *loop, const struct alerts_conf *conf,
                          struct metrics *metrics);
/* What was not delivered is dropped. Within a turn of the loop that runs to its end. */
void alerts_free(struct alerts *alerts);

/* A call went wrong, or a transaction was parked: decides whether people must know. */
void alerts_troubled(struct alerts *alerts, const struct engine_trouble *trouble);
/* An entry of an outbox that will never be a message. */
void alerts_dead_letter(struct alerts *alerts, const char *key, const char *id, const char *why);

#endif
