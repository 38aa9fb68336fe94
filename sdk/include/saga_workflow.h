/*
 * The part of saga.h for workflows, and comes with it. A workflow is a program of steps, each of
 * which may depend on what the ones before have answered. The coordinator remembers what was done;
 * when the program dies it calls another instance, or the same one after its start:
 *
 *     flow = saga_workflow_begin(…);   → "prepared": go on; else how it has ended
 *     saga_workflow_step(flow, …); …   → what the participant answered, now or in an earlier life
 *     saga_workflow_end(flow, …);      → "succeed" or "failed", for good
 *
 * The resume is a branch call (saga_on_branch) with branch id "00", the workflow's name as op and
 * its data as payload. Its handler does the same again, and replies when that is over; what it
 * replies decides nothing. So the program is written once: a step that was done is not called
 * again.
 *
 * Two runs of one workflow may be at work at a time (a slow one, and one that was resumed). The
 * barrier of the participants makes that harmless, for both call a step by the same gid, branch id
 * and op. What one has reported the other cannot report otherwise (SAGA_E_INVALID): it leaves. Undo
 * a step that was refused, too: a call of it by the other run may come later, and find it possible.
 */
#ifndef SAGA_WORKFLOW_H
#define SAGA_WORKFLOW_H

#include "saga_initiator.h"

#ifdef __cplusplus
extern "C" {
#endif

struct saga_workflow;

struct saga_workflow_spec {
    struct saga_bytes gid;
    const char *name;          /* at most 256 bytes */
    struct saga_bytes data;    /* at most 256 KB, as all bytes here */
    const char *resume;        /* url of the resume; NULL: nobody is called */
    int64_t retry_interval_ms; /* resumed so long after the begin, then after twice that, …; longer
                                  than a run takes. 0: the coordinator's default */
    int64_t request_timeout_ms; /* of the resume call, which should last as long as a run; 0: the
                                   coordinator's default */
    const struct saga_header *headers; /* given to the resume and to each step; at most 32 */
    size_t header_count;
};
/* Status "prepared": there is something to do, and `ops` tells what was done. Anything else, or an
 * error: `flow` is gone as soon as the callback returns; an ended one tells its rollback_reason and
 * its result. Of a known gid name and data are those of the first time. */
struct saga_workflow *saga_workflow_begin(struct saga *saga, const struct saga_workflow_spec *spec,
                                          saga_answer_cb cb, void *arg);

/* The branch id and the op name a step, in every run the same. A workflow has at most 100 steps,
 * and besides them 200 with the ops compensate, cancel, rollback, confirm and commit, so that there
 * is always a way back. What they answered is kept: 256 KB each, 1 MB together. */
struct saga_work {
    const char *branch_id; /* "01", …: 1 to 64 letters, digits, '-', '_', a digit first; not "00" */
    /* NULL: "action"; "compensate" undoes it, in the same branch. 1 to 32 such characters. */
    const char *op;
    const char *url; /* tcp://HOST:PORT/package.Service/Method */
    struct saga_bytes payload;
    int64_t timeout_ms; /* 0: saga_conf.timeout_ms */
};
/* Calls the participant and reports SAGA_SUCCESS with its payload, or SAGA_FAILURE of an action or
 * try with its message; the callback comes when that is stored. What was reported before is
 * answered from there, without a call. With an error the step is open, whatever the participant
 * said: call it again, or leave. Several may be under way.
 *
 * SAGA_E_INVALID: what is over a limit is refused before the participant is called; but for a reply
 * that cannot be kept, and `message` says that it was done: report the step by yourself, with what
 * is to be kept of it, or undo it. A reply of a compensate, cancel, rollback, confirm or commit
 * that does not fit is left out of the report. */
void saga_workflow_step(struct saga_workflow *flow, const struct saga_work *work,
                        saga_response_cb cb, void *arg);

/* Reports what the program has done by itself. */
struct saga_report {
    const char *branch_id, *op; /* as above */
    bool failed;
    struct saga_bytes data;
};
void saga_workflow_report(struct saga_workflow *flow, const struct saga_report *report,
                          saga_answer_cb cb, void *arg);
/* What was reported of this step, status "succeed" or "failed"; NULL: nothing. Valid as long as
 * `flow`. */
const struct saga_op *saga_workflow_done(const struct saga_workflow *flow, const char *branch_id,
                                         const char *op);

/* Tells that it has succeeded, or (`failure`: why) failed. `flow` is gone when the callback
 * returns. SAGA_E_INVALID: another run has ended it otherwise. SAGA_E_BUSY or SAGA_E_UNAVAILABLE:
 * perhaps it has not ended, and will be resumed; or begin it again. */
void saga_workflow_end(struct saga_workflow *flow, const char *failure, struct saga_bytes result,
                       saga_answer_cb cb, void *arg);
/* Gives it up for now; it will be resumed. Callbacks of steps that are under way still come. After
 * begin has answered "prepared" and before saga_workflow_end. */
void saga_workflow_leave(struct saga_workflow *flow);

#ifdef __cplusplus
}
#endif

#endif
