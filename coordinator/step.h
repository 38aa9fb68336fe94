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
    CALL_FAILURE,  /* an explicit refusal by the participant */
    CALL_ONGOING,  /* ask again later */
    CALL_ERROR,    /* everything unclear: time-out, reset, refused connection, 5xx */
    CALL_CONFLICT, /* cannot be done any more, however often it is tried: a person decides */
};
/* "SUCCESS", "FAILURE", "ONGOING", "ERROR", "CONFLICT": as in the history. */
const char *call_verdict_name(enum call_verdict verdict);

enum event_kind {
    EVENT_TICK,       /* nothing happened but that time has passed; also the first event */
    EVENT_CALLED,     /* the call of `op` of branches[branch] has ended: `verdict`, `text` */
    EVENT_SUBMIT,     /* the client wants a prepared one to go on */
    EVENT_ABORT,      /* a client wants it undone; `text`: why */
    EVENT_FINISH,     /* workflow: the client says how it ended: `status`; `text`: why it failed */
    EVENT_FORCE_STOP, /* an operator ends it as failed, whatever was done */
    EVENT_RETRY_NOW,  /* what waits for a retry, or for an operator, shall be tried at once */
    EVENT_RESOLVE,    /* an operator has done the parked `op` of branches[branch] by hand */
};

struct event {
    enum event_kind kind;
    int64_t now_ms;  /* monotonic, as the times in txn->run */
    uint64_t random; /* for the jitter of a retry */
    size_t branch;
    enum txn_op op;
    enum call_verdict verdict;
    enum txn_status status;
    struct slice text;
};

struct step_limits {
    int64_t retry_interval_ms; /* when the transaction gives none */
    int64_t retry_interval_max_ms;
    int64_t park_after; /* failed attempts of one op in a row; 0: never */
};

enum step_save {
    SAVE_NONE,  /* nothing has changed */
    SAVE_LAZY,  /* progress: with the next transition, or soon */
    SAVE_FIRST, /* before anything else is done */
};

enum step_next {
    NEXT_CALL,  /* call `op` of branches[branch]; its url is not empty. Then ask again (a tick):
                   there may be more */
    NEXT_WAIT,  /* nothing before until_ms; no call is in flight */
    NEXT_AWAIT, /* calls are in flight; nothing else before until_ms */
    NEXT_PARK,  /* nothing is left to do but parked ops, the first of them `op` of
                   branches[branch]: no call is in flight, an operator decides */
    NEXT_END,   /* it has ended: the status is final */
};

struct step {
    enum step_save save;
    enum step_next next;
    size_t branch;
    enum txn_op op;
    int64_t until_ms; /* INT64_MAX: never by itself */
};

#endif
