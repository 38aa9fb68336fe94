/*
 * An entry of an outbox stream, as lua/barrier/outbox.lua writes it. Pure; what stands in the
 * stream is untrusted. docs/outbox.md is the contract. Fields:
 *
 *   gid, trans_type                                  must be there; trans_type is msg
 *   delay_ms, request_timeout_ms, retry_interval_ms  optional: whole numbers
 *   concurrent                                       optional: 0 or 1
 *   header:NAME                                      optional, for each header: its value
 *   NN.action, NN.payload                            after the rest: NN = 01, 02, … in this order
 */
#ifndef COORDINATOR_OUTBOX_ENTRY_H
#define COORDINATOR_OUTBOX_ENTRY_H

#include "coordinator/txn.h"

enum {
    OUTBOX_OPTIONS = 4, /* besides headers */
    OUTBOX_FIELDS_MAX =
        2 * (2 + OUTBOX_OPTIONS + TXN_HEADERS_MAX + 2 * TXN_BRANCHES_MAX), /* names and values */
};

struct outbox_entry {
    struct txn_spec spec; /* its texts are views on the fields */
    struct txn_step steps[TXN_BRANCHES_MAX];
    struct txn_header headers[TXN_HEADERS_MAX];
};

/* `fields`: name, value, name, value…, `count` texts of both. ERR_INVALID or ERR_LIMIT with the
 * reason when it is no submission: trying again will not help. The gid is a good one; of the rest
 * the spec is as far unchecked as others are: topics_expand (topics_are_named) and txn_spec_check
 * must follow. */
enum err outbox_entry_parse(const struct slice *fields, size_t count, struct outbox_entry *out,
                            struct reason *reason) MUST_CHECK;

#endif
