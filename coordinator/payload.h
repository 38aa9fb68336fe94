/*
 * References in payloads: `${01.result}` stands for what the action of branch 01 answered, byte for
 * byte. Only in transactions that keep results (txn_options.keep_results); in all others a payload
 * is left alone. No other expression is known: what looks different is plain text. Pure.
 */
#ifndef COORDINATOR_PAYLOAD_H
#define COORDINATOR_PAYLOAD_H

#include "base/buf.h"
#include "coordinator/txn.h"

enum { PAYLOAD_REFERENCES_MAX = 16 }; /* in one payload */

/* Does every reference name a step that has succeeded before its own begins? The ids are "01",
 * "02", …, or those that the steps give. A tcc has none: its tries run at the same time. */
enum err payload_check(const struct txn_spec *spec, enum txn_type type,
                       struct reason *reason) MUST_CHECK;

/* Adds the payload with the results in place of the references; one that is not known (only an undo
 * after a crash may meet it) is replaced by nothing. */
void payload_expand(struct buf *out, const struct txn *txn, struct slice payload);

#endif
