/*
 * The record of a transaction as fields of a Redis hash: building the arguments of the scripts
 * without allocation, and reading HGETALL back. Knows no connection.
 *
 * Fields: type status epoch owner rev created updated, finished and history when it has ended;
 * attempts, retries, rollback_reason, custom_data and the options unless they are zero or empty;
 * doubt when an owner may have got further than it stored (txn->sure is false); header:NAME; for
 * each branch 01.action and 01.compensate ("STATUS URL") and 01.payload when there is one.
 */
#ifndef COORDINATOR_STORE_RECORD_H
#define COORDINATOR_STORE_RECORD_H

#include "base/buf.h"
#include "coordinator/store.h"

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

enum { SCRATCH_INT_BYTES = 24 };

/* At most so many bytes of `text` are needed by the two functions below. */
size_t record_text_bytes(const struct txn *txn);
/* name, value, … of everything that txn_create does not write itself. */
void record_add_all(struct scratch *scratch, const struct txn *txn);
/* name, value, … of what an update has to set, then (*sets pairs later) the names to remove. */
void record_add_changes(struct scratch *scratch, const struct txn *txn, size_t *sets);

/* Reads name, value, …; `count` slices. Whatever somebody did to the record, the answer is a whole
 * transaction or ERR_INVALID with the field that is wrong. */
enum err record_parse(struct slice gid, const struct slice *fields, size_t count, struct txn **out,
                      struct reason *reason) MUST_CHECK;

#endif
