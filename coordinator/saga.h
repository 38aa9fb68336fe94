/*
 * The rules of a saga, pure: (transaction, event) → step.
 *
 *   submitted ──every action succeeded──────────────────────────────────────────► succeed
 *       │  FAILURE of an action, timeout_to_fail, retry_limit, abort by a client
 *       ▼
 *   aborting ──every compensation succeeded────────────────────────────────────► failed
 *   (either) ──force stop───────────────────────────────────────────────────────► failed
 *
 * Actions run one after the other. Compensation runs strictly in reverse: from the action that
 * failed or may have been started, down to the first; steps that were not reached are left alone.
 * When an owner was ousted (crash, lost lease) nobody knows how far it got: progress is stored
 * lazily, and its last calls may still be on their way. Then every branch is compensated.
 * Only an explicit FAILURE of an action turns a saga round; everything unclear is tried again, a
 * compensation until it succeeds. An op without a url succeeds without a call.
 *
 * The decision to abort is stored before anything else (SAVE_FIRST), also while an action is in
 * flight; that call is then awaited before its branch is compensated.
 */
#ifndef COORDINATOR_SAGA_H
#define COORDINATOR_SAGA_H

#include "coordinator/step.h"

/* The transaction must not have ended. The step is a function of the state it leaves behind: what
 * was not performed before the next event is simply asked for again. */
struct step saga_step(struct txn *txn, const struct step_limits *limits, const struct event *event);

#endif
