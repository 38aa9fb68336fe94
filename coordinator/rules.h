/*
 * The rules of all transaction types, pure: (transaction, event) → step.
 *
 *   prepared ──▶ submitted ──▶ succeed
 *      │             │
 *      └─────────────┴─▶ aborting ──▶ failed
 *
 *   prepared → submitted   the client submits, check-back SUCCESS (msg), all tries succeeded (tcc)
 *   prepared → aborting    abort, timeout (saga, tcc, xa); FAILURE of a try, retry_limit (tcc)
 *   prepared → failed      abort, check-back FAILURE (msg)
 *   prepared → any end     the client's verdict (workflow)
 *   submitted → succeed    every branch done
 *   submitted → aborting   saga only: FAILURE of an action, timeout, retry_limit, abort
 *   aborting → failed      every branch undone
 *   any → failed           force stop
 *
 * What is called in a status, and in which order, is one stage:
 *
 *              prepared                 submitted                    aborting
 *   saga       –                        actions, one after another   compensations, in reverse
 *     concurrent                        all, but for `after`         all, against `after`
 *   tcc        tries, all (declared)    confirms, in reverse         cancels, in reverse
 *   msg        the check-back, in time  actions, one after another   –
 *     concurrent                        all
 *   xa         –                        commits, in order            rollbacks, in order
 *   workflow   the resume, in time      –                            –
 *
 * An undo bars its action. So, concurrent or not, what did not succeed is undone before what did: a
 * coordinator that does not know of the decision to abort, because the store has lost it, is then
 * refused, and turns round as well, instead of ending half.
 *
 * Who is undone: what succeeded, failed or may have been started; never what was not reached. When
 * an owner was ousted (crash, lost lease) nobody knows how far it got, and every branch is undone:
 * an undo without its action is empty, but it bars the action. Of a tcc without declared tries and
 * of xa every registered branch: only the client knows what it called.
 * Only an explicit FAILURE of an action, try or check-back turns a transaction round; everything
 * unclear is tried again, an undo or a confirm until it succeeds. An op without a url succeeds
 * without a call.
 *
 * What cannot end by itself is not tried for ever: an op that has failed `park_after` times in a
 * row, or that its participant calls a conflict, is parked. An action or try that its client has
 * given a timeout or a retry_limit is not: that turns the transaction round. The others go on; once
 * nothing but parked ops can be done, the transaction itself is parked, until an operator has them
 * tried again, says that one is done, or ends it.
 *
 * Decisions are stored before anything else (SAVE_FIRST), also while calls are in flight; these are
 * awaited before the first undo.
 */
#ifndef COORDINATOR_RULES_H
#define COORDINATOR_RULES_H

#include "coordinator/step.h"

/* The transaction must not have ended. The step is a function of the state it leaves behind: what
 * was not performed before the next event is simply asked for again. */
struct step rules_step(struct txn *txn, const struct step_limits *limits,
                       const struct event *event);

/* Does an op wait for an operator? EVENT_RETRY_NOW changes what is stored then. */
bool rules_has_parked(const struct txn *txn);

/* May timeout_to_fail turn it round in its present status? */
bool rules_can_time_out(const struct txn *txn);

/* What the engine does to the record when it performs NEXT_CALL. */
void rules_call_begins(struct txn *txn, size_t branch, enum txn_op op);

#endif
