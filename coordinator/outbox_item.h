/*
 * From an entry of an outbox to the engine, and what must become of the entry then: it leaves its
 * stream only when the store has its message. No I/O: the simulator runs it unchanged.
 */
#ifndef COORDINATOR_OUTBOX_ITEM_H
#define COORDINATOR_OUTBOX_ITEM_H

#include "coordinator/engine.h"

enum outbox_fate {
    OUTBOX_STORED,  /* the store has its message: take it out of the stream */
    OUTBOX_DEAD,    /* it will never be one: move it to the dead letters */
    OUTBOX_REFUSED, /* not now: leave it where it is; whoever finds its reader silent takes it over.
                       Others would fare alike: read nothing for a moment */
    OUTBOX_LEFT,    /* likewise; this process ends */
};

struct outbox_verdict {
    enum outbox_fate fate;
    const char *why; /* DEAD, REFUSED, LEFT: for a person */
};
/* Everything in it is valid during the callback only. */
typedef void (*outbox_item_cb)(void *arg, const struct outbox_verdict *verdict);

struct outbox_item {
    outbox_item_cb cb;
    void *arg;
};

/* Checks and submits what outbox_entry_parse has read, topics in place. ERR_OK: the callback comes
 * once, later; the item must stay until then. ERR_INVALID, ERR_LIMIT: no callback comes; it is
 * DEAD, for this reason. */
enum err outbox_item_submit(struct outbox_item *item, struct engine *engine,
                            const struct txn_spec *spec, struct reason *reason) MUST_CHECK;
/* The verdict on an entry that the engine, or whoever was asked before it, has answered so. */
enum outbox_fate outbox_fate_of(enum err err);

#endif
