/*
 * The part of saga.h for a program that announces its own change by a two-phase message, and comes
 * with it. Its change is one gated script:
 *
 *     saga_prepare(saga, &message, …)             the coordinator knows of it
 *     saga_msg_change(saga, gid, &change, …)      the change, under the barrier of the message
 *     saga_submit(saga, &message, …)              OK, DUP: send it
 *     saga_abort(saga, gid, …)                    FAIL, VOID: nothing was changed
 *
 * When the program dies in between, the coordinator asks `query_prepared`, any instance of the
 * program, and saga_call_check_back answers what the barrier knows: sent if and only if the change
 * was made, also when it is still on its way while the question is answered.
 */
#ifndef SAGA_MSG_H
#define SAGA_MSG_H

#include "saga_initiator.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*saga_change_done)(void *arg, const struct saga_outcome *outcome);

/* Runs a gated script as op "msg" of branch "00" (`done` and `arg` of the eval are not used).
 *   SAGA_OK, SAGA_DUP  the change was made
 *   SAGA_FAIL          refused by the business rules; a repeat is asked anew
 *   SAGA_VOID          too late: the coordinator has asked, and was told that there is none
 *   SAGA_BROKEN        nothing is known: repeat it, or leave the message to its check-back */
void saga_msg_change(struct saga *saga, struct saga_bytes gid, const struct saga_eval *change,
                     saga_change_done done, void *arg);

/* Answers a call of `query_prepared` and ends it: SUCCESS when the change was made, else FAILURE,
 * and then it never will be. `tag` is that of the change's saga_eval; the call brings the gid
 * alone, so it must follow from that, or be the same for all. A question that comes when the record
 * may have expired (barrier_ttl_ms) is answered CONFLICT, with an alert in the log: the message is
 * parked, and a person decides. */
void saga_call_check_back(struct saga_call *call, const char *tag);

#ifdef __cplusplus
}
#endif

#endif
