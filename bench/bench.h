/*
 * sagabench: many transactions against a running stack, then the books are checked.
 *
 *   setup → run → settle → books → costs → report
 *
 * Each of the C slots submits a transaction and waits for its end; one whose outcome is unknown (a
 * coordinator was away) is submitted again with the same gid, one that is still running is asked
 * for later (settle), so that also a run with kills in it ends with every transaction accounted
 * for.
 *
 * The participants of a saga are order and product of the mall; those of a tcc or msg live in this
 * process and count, behind their barriers, in the Redis of the stack; with --noop they do nothing.
 * A message through the outbox is left in the stream of the order service, by a script; nobody is
 * told how it goes on: it has ended when its last branch is called.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "base/buf.h"
#include "net/loop.h"
#include "saga.h"

enum { BENCH_COORDINATORS_MAX = 9, BENCH_GID_SIZE = 24, BENCH_ERROR_KINDS = 6 };

/* What `stack.sh` wrote to D/env, or the options that say the same. */
struct bench_env {
    char *tcp[BENCH_COORDINATORS_MAX]; /* SAGA_TCP, SAGA_TCP_2, … */
    char *http[BENCH_COORDINATORS_MAX]; /* SAGA_HTTP, … for the metrics; NULL: no figures of scripts
                                         */
    int coordinators;
    char *order_rpc, *product_rpc;
    char *redis, *redis_user, *redis_password; /* NULL: no figures of memory */
};
/* False, after a message, when the file cannot be read. */
bool bench_env_read(struct bench_env *env, const char *path);
void bench_env_fini(struct bench_env *env);

enum bench_error {
    BENCH_REFUSED,     /* the coordinator refused the submit */
    BENCH_BUSY,        /* it was busy, and we tried again */
    BENCH_UNAVAILABLE, /* it, or its store, was away, and we tried again */
    BENCH_FAILED,      /* the transaction ended as failed */
    BENCH_LATE,        /* still running when the answer came; asked for later */
    BENCH_UNFINISHED,  /* not ended within the time for settling: a loss until proven otherwise */
};
extern const char *const bench_error_names[BENCH_ERROR_KINDS];

enum bench_mode { BENCH_SAGA, BENCH_TCC, BENCH_MSG, BENCH_OUTBOX };

/* Over HTTP, submits and branches; NULL in struct bench: over TCP. */
struct bench_http;
struct slot; /* run.c */

struct bench {
    enum bench_mode mode;
    struct loop *loop;
    struct bench_env env;
    struct saga *sagas[BENCH_COORDINATORS_MAX]; /* one initiator per coordinator */
    struct saga *host;                          /* the participants in this process */
    struct saga_script *counter;                /* what they run, unless they do nothing */
    struct saga_script *outbox;                 /* leaves a message */
    struct slot *slots;
    struct slot **waiting; /* outbox: who waits for which transaction; NULL: nobody (any more) */
    struct bench_http *http;
    bool noop, json, quiet, over_http;
    int64_t total;       /* -n */
    int64_t concurrency; /* -c */
    int64_t settle_ms;
    int64_t retry_ms; /* 0: the coordinator's default */

    int64_t product, first_order, order_step;
    int64_t first_uid, users; /* the transactions are spread over so many users */
    char urls[4][128];        /* two branches, each an action and its undo */
    char run[BENCH_GID_SIZE]; /* names the counters of this run */

    int64_t started, ended, succeeded, failed;
    int64_t *latency_us; /* of each transaction that ended within its submit */
    size_t latency_count;
    char (*gids)[BENCH_GID_SIZE]; /* of every transaction */
    int64_t *late;                /* indices of those that were still running */
    size_t late_count;
    uint64_t errors[BENCH_ERROR_KINDS];
    int64_t begin_us, end_us;

    double scripts_before, scripts_after; /* store round trips of all coordinators; < 0: unknown */
    double redis_bytes;                   /* per transaction; < 0: unknown */
    bool books_checked, books_balanced;
    int64_t stock, ordered; /* found in the books of the mall */
    int64_t held, counted;  /* found in the counters: tries that are still open, branches done */
};

/* The user of a transaction: all of the shard in which the ids were allocated. */
int64_t bench_uid(const struct bench *bench, int64_t index);

const char *bench_mode_name(enum bench_mode mode);
bool bench_is_hosted(const struct bench *bench); /* the participants live in this process */

/* ---- host.c: participants in this process ---- */

bool bench_host_open(struct bench *bench);
void bench_host_close(struct bench *bench);
/* The payload of the branches of a transaction. */
struct saga_bytes bench_host_payload(const struct bench *bench, int64_t index, char out[32]);
bool bench_host_books(struct bench *bench); /* false: they cannot be read */

/* A branch is called; tells who waits for its message (run.c). */
void bench_delivered(struct bench *bench, struct saga_bytes gid, struct saga_bytes branch_id);

/* ---- http.c ---- */

/* `submit` as saga_submit, through DTM's API; times and orders are not sent. */
bool bench_http_open(struct bench *bench);
void bench_http_close(struct bench *bench);
void bench_http_submit(struct bench *bench, int coordinator, const struct saga_submission *submit,
                       saga_answer_cb cb, void *arg);

/* Turns the loop until *done. */
void bench_await(struct bench *bench, const bool *done);

/* The stages, in this order; false, after a message, ends the run. */
bool bench_setup(struct bench *bench);
void bench_run(struct bench *bench);   /* also settles */
bool bench_books(struct bench *bench); /* fills the books; false only when they cannot be read */
void bench_costs_before(struct bench *bench);
void bench_costs_after(struct bench *bench);
void bench_report(struct bench *bench);
bool bench_is_good(const struct bench *bench); /* no loss, books balanced */

#endif
