/*
 * The part of saga.h for initiators, and comes with it: submit transactions of every type, ask how
 * they stand, call other participants. What saga.h says of callbacks and arguments holds here.
 */
#ifndef SAGA_INITIATOR_H
#define SAGA_INITIATOR_H

#include "saga.h"

#ifdef __cplusplus
extern "C" {
#endif

enum saga_error {
    SAGA_E_NONE,
    SAGA_E_INVALID,     /* refused; repeating does not help */
    SAGA_E_BUSY,        /* try again later */
    SAGA_E_UNAVAILABLE, /* nothing is known about the outcome: ask again with the same gid */
    SAGA_E_CANCELLED,   /* saga_close */
};

struct saga_answer {
    enum saga_error error;
    const char *message; /* with an error: for a person */
    struct saga_bytes gid;
    /* "prepared", "submitted", "aborting", "succeed", "failed"; NULL: unknown gid (query) */
    const char *status;
    struct saga_bytes rollback_reason;
    /* Query, and begin of a workflow: */
    const struct saga_op *ops; /* everything that may be called; of a workflow what was done */
    size_t op_count;
    struct saga_bytes result; /* of a workflow, when it has ended */
    int64_t created_ms;       /* since 1970, by the coordinator's Redis */
    /* "conflict 02.confirm,03.confirm": why it waits for an operator ("attempts", "conflict") and
     * with which ops; empty: it does not */
    struct saga_bytes parked;
    int64_t parked_since_ms;
};
struct saga_op {
    struct saga_bytes branch_id, op, url; /* "01", "confirm", "tcp://…" */
    const char *status;                   /* "prepared", "succeed", "failed" */
    struct saga_bytes result;             /* of an action or try, with keep_results; what a workflow
                                             reported */
};
typedef void (*saga_answer_cb)(void *arg, const struct saga_answer *answer);

struct saga_header {
    const char *name, *value; /* a name has no case */
};

/* For the calls of one step or branch alone; 0: those of the submission. */
struct saga_call_options {
    int64_t request_timeout_ms, retry_interval_ms;
    const struct saga_header *headers; /* besides those of the submission; 32 together */
    size_t header_count;
};

/* Of a saga; of a msg, which has no compensations. */
struct saga_step {
    const char *action; /* "tcp://order/order.Order/Create", "http://…"; "" or NULL: nothing */
    const char *compensate;
    struct saga_bytes payload; /* given to both */
    struct saga_call_options options;
};

/* Of a tcc. */
struct saga_branch {
    const char *try_url; /* urls as above */
    const char *confirm;
    const char *cancel;
    struct saga_bytes payload;        /* given to all three */
    struct saga_call_options options; /* of a declared tcc */
};

/* In a concurrent saga: the step of this index begins when that one has succeeded, and is undone
 * before it. */
struct saga_order {
    uint8_t step, after;
};

struct saga_submission {
    struct saga_bytes
        gid; /* own id, or from saga_new_gid; submitting a known gid again is harmless */
    const struct saga_step *steps;
    size_t step_count;
    /* Turn round when not done by then; 0: never. Of what is prepared: when neither submitted nor
     * aborted by then (a msg: ask query_prepared then); 0: the coordinator's default. */
    int64_t timeout_to_fail_ms;
    int64_t retry_interval_ms; /* 0: the coordinator's default; so for the next two */
    int64_t request_timeout_ms;
    uint32_t retry_limit;
    bool wait;               /* answer when it ended, through retries up to wait_timeout_ms */
    int64_t wait_timeout_ms; /* 0 with wait: answer also as soon as something must be tried again */
    /* For more than steps that come one after the other: */
    const char *trans_type;             /* NULL: "saga"; "msg", "tcc"; tcc or xa without steps
                                           and branches: one that was prepared */
    bool concurrent;                    /* saga, msg: all steps at once, but for `orders` */
    const struct saga_order *orders;    /* saga */
    size_t order_count;                 /* at most SAGA_ORDERS_MAX */
    const struct saga_branch *branches; /* tcc: the coordinator calls the tries, too, all at once */
    size_t branch_count;
    const char *query_prepared; /* msg: the branch that says whether a prepared one is sent */
    int64_t delay_ms;           /* msg: nothing is called before so long after the submit */
    bool keep_results; /* of actions and tries, 4096 bytes each; a later payload may name one,
                          "${01.result}" */
    const struct saga_header *headers; /* given to each branch call; at most 32 */
    size_t header_count;
};
enum { SAGA_ORDERS_MAX = 1000 };

/* A random id made here; needs no coordinator. `out` gets 22 characters and a NUL. */
void saga_gid(char out[23]);
void saga_new_gid(struct saga *saga, saga_answer_cb cb, void *arg); /* asks the coordinator */
void saga_submit(struct saga *saga, const struct saga_submission *submission, saga_answer_cb cb,
                 void *arg);
void saga_query(struct saga *saga, struct saga_bytes gid, saga_answer_cb cb, void *arg);
/* Asks until it has ended, is parked (`parked` says why; its status stays as it is), or `wait_ms`
 * are over (0: for ever), also while the coordinator is away; then answers as saga_query. Of a
 * parked one watch again when an operator has seen to it. */
void saga_watch(struct saga *saga, struct saga_bytes gid, int64_t wait_ms, saga_answer_cb cb,
                void *arg);
/* Turns it round: a saga while it runs, a msg or tcc while it is prepared. The answer comes when
 * that is stored. Repeated: harmless. `reason` may be NULL. */
void saga_abort(struct saga *saga, struct saga_bytes gid, const char *reason, saga_answer_cb cb,
                void *arg);
/* Stores a msg that waits for saga_submit (the same submission again) or saga_abort. When neither
 * comes, the coordinator asks `query_prepared`: a call with branch id "00" and op "msg", answered
 * SAGA_SUCCESS (send it) or SAGA_FAILURE (forget it). */
void saga_prepare(struct saga *saga, const struct saga_submission *submission, saga_answer_cb cb,
                  void *arg);

/* A plain request to another participant, at "host:port" or "unix:/path". */
struct saga_response {
    enum saga_error error; /* NONE: `result` came */
    enum saga_result result;
    struct saga_bytes payload;
    const char *message;
};
typedef void (*saga_response_cb)(void *arg, const struct saga_response *response);
void saga_request(struct saga *saga, const char *address, const char *method,
                  struct saga_bytes payload, saga_response_cb cb, void *arg);

/*
 * A tcc whose tries this program calls by itself, one by one, and may look at what they answer:
 *
 *     tcc = saga_tcc_begin(…);         → "prepared"
 *     saga_tcc_try(tcc, …); …          → what the participant answered
 *     saga_tcc_end(tcc, true, …);      → all confirmed, or all cancelled
 *
 * When the program dies in the middle, timeout_to_fail_ms cancels what was tried.
 */
struct saga_tcc;
/* `begin` tells gid, times and `wait` (of the end); it has no steps and no branches. When the
 * answer is an error, `tcc` is gone as soon as the callback returns, unless that has called
 * saga_tcc_end: after SAGA_E_UNAVAILABLE it may be prepared all the same. Or begin again with the
 * same gid. */
struct saga_tcc *saga_tcc_begin(struct saga *saga, const struct saga_submission *begin,
                                saga_answer_cb cb, void *arg);
/* Registers the branch, then calls its try: "tcp://HOST:PORT/package.Service/Method", because names
 * are known to the coordinator only (confirm and cancel may use them). Several may be under way.
 * Everything but SAGA_SUCCESS counts as not done. */
void saga_tcc_try(struct saga_tcc *tcc, const struct saga_branch *branch, saga_response_cb cb,
                  void *arg);
/* Registers the branch alone: this program calls its try by itself, over HTTP say, with the gid and
 * the branch's id: "01", "02", … in the order of these calls and those of saga_tcc_try. `try_url`
 * is NULL. Whether the try has succeeded only the program knows, and says with the end. */
void saga_tcc_register(struct saga_tcc *tcc, const struct saga_branch *branch, saga_answer_cb cb,
                       void *arg);
/* Called when begin has answered, or in its callback. Confirms when `confirm`, begin and every try
 * have succeeded by now, else cancels; once decided it stays so. The answer comes when that is
 * stored, or, with `wait` in begin, when all is confirmed. `tcc` is gone then, unless the error is
 * SAGA_E_BUSY or SAGA_E_UNAVAILABLE: call it again. */
void saga_tcc_end(struct saga_tcc *tcc, bool confirm, saga_answer_cb cb, void *arg);

/*
 * An xa: each resource manager does its first phase under the program's eyes (XA START … XA
 * PREPARE, named by gid and branch id), and is called by the coordinator for the second:
 *
 *     xa = saga_xa_begin(…);             → "prepared"
 *     saga_xa_register(xa, …); …         before each resource manager begins
 *     saga_xa_end(xa, true, …);          → all committed, or all rolled back
 *
 * begin, end and their answers are as those of a tcc.
 */
struct saga_xa;
struct saga_xa_branch {
    const char *commit, *rollback; /* urls as above; may be the same: the op tells */
    struct saga_bytes payload;     /* given to both */
};
struct saga_xa *saga_xa_begin(struct saga *saga, const struct saga_submission *begin,
                              saga_answer_cb cb, void *arg);
/* The branches have the ids "01", "02", … in the order of these calls. */
void saga_xa_register(struct saga_xa *xa, const struct saga_xa_branch *branch, saga_answer_cb cb,
                      void *arg);
/* Commits when `commit` and every branch is registered by now, else rolls back. */
void saga_xa_end(struct saga_xa *xa, bool commit, saga_answer_cb cb, void *arg);

#ifdef __cplusplus
}
#endif

#include "saga_workflow.h"

#endif
