/*
 * The record of a transaction as fields of a Redis hash: building the arguments of the scripts
 * without allocation, and reading HGETALL back. Knows no connection.
 *
 * Fields: type status lease created updated, finished and history when it has ended; attempts,
 * retries, rollback_reason, custom_data and the options unless they are zero or empty; doubt when
 * an owner may have got further than it stored (txn->sure is false); header:NAME; `00`, the check-
 * back ("query URL payload BYTES"). For each branch `01`, what never changes ("seq 1 after 01,02
 * action URL compensate URL payload BYTES", what is empty is left out; seq: the order of those that
 * were registered one by one), and `01.action`, `01.compensate`: started, succeed or failed, none
 * while prepared. Of a workflow `01.action` is "STATUS DATA", as its client reported it.
 *
 * While it is parked: `parked` = "SINCE_MS REASON OP,OP…".
 *
 * What else is there is kept as it is, and stored anew with the rest: `branches` and
 * `second_phase`, which txn_register counts with, what an operator has written, and what a later
 * version has added.
 *
 * The lease is "EPOCH.REVISION OWNER", without " OWNER" when nobody owns the transaction.
 */
#ifndef COORDINATOR_STORE_RECORD_H
#define COORDINATOR_STORE_RECORD_H

#include "base/buf.h"
#include "coordinator/store_redis.h"

/* Arguments of one script. Texts that are made up live in `text`, which must not move while `argv`
 * points into it: hence its size is reserved at the beginning. */
struct scratch {
    struct buf text;
    struct slice *argv;
    size_t argc, cap;
};

void scratch_begin(struct scratch *scratch, size_t text_bytes); /* forgets the last ones */
void scratch_fini(struct scratch *scratch);
void scratch_add(struct scratch *scratch, struct slice arg); /* a view, not copied */
void scratch_add_str(struct scratch *scratch, const char *arg);
void scratch_add_int(struct scratch *scratch, int64_t value);
/* One argument put together in `text`. */
void scratch_add_joined(struct scratch *scratch, struct slice a, struct slice b, struct slice c);

enum { SCRATCH_INT_BYTES = 24, LEASE_BYTES_MAX = STORE_OWNER_MAX + 2 * SCRATCH_INT_BYTES };

/* At most so many bytes of `text` are needed by the functions below, two leases included. */
size_t record_text_bytes(const struct txn *txn);
void record_add_lease(struct scratch *scratch, int64_t epoch, int64_t revision, struct slice owner);
/* name, value, … of everything that txn_create does not write itself. */
void record_add_all(struct scratch *scratch, const struct txn *txn);
/* name, value, … of what an update has to set, then (*sets pairs later) the names to remove. */
void record_add_changes(struct scratch *scratch, const struct txn *txn, size_t *sets);

/* "conflict 02.confirm,03.confirm": why it is parked, and the ops that are. */
void record_add_parked(struct scratch *scratch, const struct txn *txn);

/* The value of a branch that is registered, without its `seq`, or of what a workflow reports. */
size_t record_branch_bytes(const struct store_branch *branch); /* of `text` that it needs */
void record_add_branch(struct scratch *scratch, const struct store_branch *branch);

/* Reads name, value, …; `count` slices. Whatever somebody did to the record, the answer is a whole
 * transaction or ERR_INVALID with the field that is wrong. */
enum err record_parse(struct slice gid, const struct slice *fields, size_t count, struct txn **out,
                      struct reason *reason) MUST_CHECK;

#endif
