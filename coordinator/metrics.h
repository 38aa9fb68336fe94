/*
 * Counters, gauges and histograms of sagad, as Prometheus text (format 0.0.4). docs/operations.md
 * lists the names; every label has a small fixed set of values, so that no input can make them
 * grow.
 *
 * The memory is shared between the workers of one sagad: each writes its own part, and whichever is
 * asked answers for all. Durations are counted in microseconds and shown in seconds.
 */
#ifndef COORDINATOR_METRICS_H
#define COORDINATOR_METRICS_H

#include "base/buf.h"
#include "coordinator/caller.h"
#include "coordinator/txn.h"

struct metrics;

enum {
    METRICS_ROUTES_MAX = 40, /* path templates of the HTTP API */
    METRICS_BUCKETS = 16,
};

/* Statuses of HTTP answers; anything else is counted as "other". */
enum { METRICS_STATUSES = 16 };

/* Values that somebody else keeps and that are set before rendering or whenever they change. */
enum metrics_gauge {
    GAUGE_LIVE,           /* transactions in memory */
    GAUGE_CALLS_INFLIGHT, /* branch calls in flight */
    GAUGE_CALLS_WAITING,  /* branch calls waiting for a slot of their participant */
    GAUGE_PARTICIPANTS,
    GAUGE_SERVICES,          /* known by name */
    GAUGE_INSTANCES,         /* of these */
    GAUGE_INSTANCES_RESTING, /* addresses that get no calls for now */
    GAUGE_REDIS_UP,          /* 1 while connected, for each worker */
    /* Of the outbox streams; set by one worker alone. */
    GAUGE_OUTBOX_ENTRIES,  /* all that are not acknowledged */
    GAUGE_OUTBOX_PENDING,  /* of these: read by some coordinator */
    GAUGE_OUTBOX_OLDEST_S, /* age of the oldest one */
    GAUGE_CONNECTIONS,     /* of clients, to both APIs */
    /* Since the start of this process; shown as counters: */
    GAUGE_CALLS_MOVED, /* to another instance */
    GAUGE_CONNECTIONS_REFUSED,
    GAUGE_COUNT,
};

enum metrics_outbox {
    METRICS_OUTBOX_CONSUMED, /* entries whose message is stored */
    METRICS_OUTBOX_DEAD,     /* moved to a dead-letter stream */
    METRICS_OUTBOX_COUNT,
};

enum metrics_alert {
    METRICS_ALERT_SENT,
    METRICS_ALERT_FAILED,  /* given up after some tries */
    METRICS_ALERT_DROPPED, /* no room, or the end of the process */
    METRICS_ALERT_COUNT,
};

/* Of the store, the same for all workers: known by the one that renders. */
struct metrics_backlog {
    bool known;      /* false: the store did not answer; the gauges are left out */
    int64_t due;     /* unfinished transactions */
    int64_t overdue; /* of these: due time has passed */
    int64_t parked;  /* wait for a person */
};

/* `workers` parts in shared memory, to be made before the workers are forked; this process writes
 * part 0 until metrics_attach. */
struct metrics *metrics_new(int workers, const char *version);
void metrics_attach(struct metrics *metrics, int worker);
void metrics_free(struct metrics *metrics);
/* Names of the routes, in the order of their numbers; must live as long as the metrics. */
void metrics_set_routes(struct metrics *metrics, const char *const *routes, int count);

/* Both once for each transaction, by whoever stored it. */
void metrics_submitted(struct metrics *metrics, enum txn_type type);
void metrics_finished(struct metrics *metrics, enum txn_type type, enum txn_status status,
                      int64_t duration_ms);
void metrics_called(struct metrics *metrics, const char *label, enum call_verdict verdict,
                    int64_t duration_us); /* `label`: txn_op_label */
void metrics_redis(struct metrics *metrics, bool ok, int64_t duration_us);
/* `route` is a number below the count of routes, or -1: no such path. */
void metrics_http(struct metrics *metrics, int route, int status, int64_t duration_us);
void metrics_outbox(struct metrics *metrics, enum metrics_outbox what, int64_t count);
void metrics_parked(struct metrics *metrics, enum txn_park why);
void metrics_alert(struct metrics *metrics, enum metrics_alert what);
void metrics_set(struct metrics *metrics, enum metrics_gauge gauge, int64_t value);

/* Appends all of it; the sum over the workers. */
void metrics_render(const struct metrics *metrics, const struct metrics_backlog *backlog,
                    struct buf *out);

#endif
