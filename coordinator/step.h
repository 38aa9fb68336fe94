/*
 * What the rules of each transaction type take and return. A rule is a pure function:
 * (transaction, event) → step. It changes nothing but the transaction and knows no I/O; the engine
 * performs the step: first what is to be stored, then what is next.
 */
#ifndef COORDINATOR_STEP_H
#define COORDINATOR_STEP_H

#include "coordinator/txn.h"

enum call_verdict {
    CALL_SUCCESS,
    CALL_FAILURE, /* an explicit refusal by the participant */
    CALL_ONGOING, /* ask again later */
    CALL_ERROR,   /* everything unclear: time-out, reset, refused connection, 5xx */
};
/* "SUCCESS", "FAILURE", "ONGOING", "ERROR": as in the history. */
const char *call_verdict_name(enum call_verdict verdict);

enum event_kind {
    EVENT_TICK,       /* nothing happened but that time has passed; also the first event */
    EVENT_CALLED,     /* the call in flight (txn->run) has ended with `verdict` and `text` */
    EVENT_ABORT,      /* a client wants it undone; `text`: why */
    EVENT_FORCE_STOP, /* an operator ends it as failed, whatever was done */
    EVENT_RETRY_NOW,  /* what waits for a retry shall be tried at once */
};

struct event {
    enum event_kind kind;
    int64_t now_ms;  /* monotonic, as the times in txn->run */
    uint64_t random; /* for the jitter of a retry */
    enum call_verdict verdict;
    struct slice text;
};

struct step_limits {
    int64_t retry_interval_ms; /* when the transaction gives none */
    int64_t retry_interval_max_ms;
};

enum step_save {
    SAVE_NONE,  /* nothing has changed */
    SAVE_LAZY,  /* progress: with the next transition, or soon */
    SAVE_FIRST, /* before anything else is done */
};

enum step_next {
    NEXT_CALL,  /* call `op` of branches[branch]; its url is not empty */
    NEXT_WAIT,  /* nothing before until_ms */
    NEXT_AWAIT, /* a call is in flight */
    NEXT_END,   /* it has ended: the status is final */
};

struct step {
    enum step_save save;
    enum step_next next;
    size_t branch;
    enum txn_op op;
    int64_t until_ms;
};

#endif
