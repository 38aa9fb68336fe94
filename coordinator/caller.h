/*
 * Port: what the engine needs to call branches. caller_net implements it over TCP and HTTP, the
 * simulator with a script.
 */
#ifndef COORDINATOR_CALLER_H
#define COORDINATOR_CALLER_H

#include "coordinator/step.h"

struct branch_call {       /* views, valid during the start of the call only */
    const struct txn *txn; /* gid, type, created_ms */
    const struct txn_branch *branch;
    const char *op; /* txn_op_label; for the resume of a workflow its name, as DTM has it */
    struct slice payload;
    const struct txn_header *headers; /* of the transaction and of the branch */
    size_t header_count;
    struct slice url; /* never empty: the engine itself succeeds with an empty one */
    int64_t timeout_ms;
};

struct call_result {
    enum call_verdict verdict;
    struct slice message; /* body or text of the answer, or the error; valid during the callback */
    int64_t duration_us;
};
typedef void (*call_cb)(void *arg, const struct call_result *result);

struct caller {
    const struct caller_ops *ops;
};

struct caller_ops {
    /* Completes exactly once, within timeout_ms or soon after, never from inside this call. */
    void (*start)(struct caller *caller, const struct branch_call *call, call_cb cb, void *arg);
};

#endif
