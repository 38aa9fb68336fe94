/* The calls of one rpc client that wait for something: slots with a free list, found by id in one
 * step, ordered by deadline. A slot's id changes with each use, so a late reply finds nothing.
 * Internal to wire/. */
#ifndef WIRE_RPC_CALLS_H
#define WIRE_RPC_CALLS_H

#include "base/heap.h"
#include "wire/rpc.h"

struct rpc_call {
    struct heap_node deadline; /* in the heap: waits for a reply */
    rpc_reply_cb cb;
    void *arg;
    uint64_t id;
    enum err err; /* of a call that failed and waits to be told */
    const char *why;
    struct rpc_call *next; /* in the free list or among the failed */
};

/* A zeroed struct is empty. */
struct rpc_calls {
    struct rpc_call **pages;
    size_t page_count;
    struct rpc_call *free;
    struct heap waiting;
    struct rpc_call *failed_first, *failed_last;
};

void calls_fini(struct rpc_calls *calls); /* none may be waiting or failed */
struct rpc_call *calls_add(struct rpc_calls *calls, rpc_reply_cb cb, void *arg,
                           int64_t deadline_ms);
struct rpc_call *calls_find(const struct rpc_calls *calls, uint64_t id); /* waiting, or NULL */
size_t calls_waiting(const struct rpc_calls *calls);
struct rpc_call *calls_first(const struct rpc_calls *calls); /* earliest deadline, or NULL */
/* From waiting to failed. */
void calls_fail(struct rpc_calls *calls, struct rpc_call *call, enum err err, const char *why);
void calls_fail_all(struct rpc_calls *calls, enum err err, const char *why);
/* Ends a waiting call: its slot is free before the callback runs. */
void calls_complete(struct rpc_calls *calls, struct rpc_call *call,
                    const struct wire_message *reply);
/* Runs the callbacks of those that have failed by now; what fails meanwhile is left. */
void calls_tell_failed(struct rpc_calls *calls);

#endif
