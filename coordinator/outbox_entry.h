/*
 * An entry of an outbox stream, as lua/barrier/outbox.lua writes it: fields gid, trans_type and for
 * each step NN.action and NN.payload, NN = 01, 02, … in this order. Pure; what stands in the stream
 * is untrusted. docs/outbox.md is the contract.
 */
#ifndef COORDINATOR_OUTBOX_ENTRY_H
#define COORDINATOR_OUTBOX_ENTRY_H

#include "coordinator/txn.h"

struct outbox_entry {
    struct txn_spec spec; /* checked (txn_spec_check); its texts are views on the fields */
    struct txn_step steps[TXN_BRANCHES_MAX];
};

/* `fields`: name, value, name, value…, `count` texts of both. ERR_INVALID or ERR_LIMIT with the
 * reason when it is no submission: trying again will not help. */
enum err outbox_entry_parse(const struct slice *fields, size_t count, struct outbox_entry *out,
                            struct reason *reason) MUST_CHECK;

#endif
