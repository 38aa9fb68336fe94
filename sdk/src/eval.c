/* A call's scripts under the barrier of its branch, and the answer that follows from them. */
#include "base/check.h"
#include "saga_internal.h"

enum { BARRIERS_MAX = 99 /* of one call: the id has two digits */ };

void saga_call_settle(struct saga_call *call, const struct saga_outcome *outcome,
                      struct saga_bytes payload)
{
    struct slice text = slice_of(outcome->text);
    enum saga_result result = SAGA_RESULT_CONFLICT;
    switch (outcome->verdict) {
    case SAGA_OK:
    case SAGA_DUP:
    case SAGA_NULL: call_answer(call, SAGA_SUCCESS, slice_of(payload), (struct slice){0}); return;
    case SAGA_FAIL:
    case SAGA_VOID:
        call_answer(call, saga_call_is_undo(call) ? SAGA_ERROR : SAGA_FAILURE, (struct slice){0},
                    text);
        return;
    case SAGA_CONFLICT:
        gate_log(call->call, "alert: confirm and cancel of one branch were both called", text);
        break;
    case SAGA_LATE:
        gate_log(call->call, "alert: a record of the barrier may have expired", text);
        break;
    case SAGA_BROKEN:
        if (call->saga->closing) { /* another instance can do it at once */
            call_pass_on(call);
            return;
        }
        result = SAGA_ERROR;
        break;
    }
    call_answer(call, result, (struct slice){0}, text);
}

static void on_ended(void *arg, const struct saga_outcome *outcome)
{
    struct saga_call *call = arg;
    struct saga *saga = call->saga;
    call->evaluating = false;
    if (call->done) {
        call->done(call->done_arg, call, outcome);
    } else {
        saga_call_settle(call, outcome, outcome->text);
    }
    saga->pending--;
}

static void call_evaluates(struct saga_call *call, saga_eval_done done, void *arg)
{
    check(call->request && !call->evaluating);
    call->evaluating = true;
    call->done = done;
    call->done_arg = arg;
    call->run = (struct gate_run){.saga = call->saga,
                                  .branch = call->call,
                                  .barrier = call->barriers,
                                  .ended = on_ended,
                                  .owner = call};
    call->saga->pending++;
}

static bool is_check_back(const struct saga_call *call)
{
    return slice_eq_str(call->call->op, "msg");
}

void saga_call_eval(struct saga_call *call, const struct saga_eval *eval)
{
    const char *wrong =
        call->call->gid.len == 0 ? "a plain request has no barrier: use saga_redis_eval"
        : is_check_back(call)    ? "a check-back changes nothing: answer it by saga_call_check_back"
        : call->barriers == BARRIERS_MAX ? "too many scripts in one call"
                                         : NULL;
    call->barriers += !wrong;
    call_evaluates(call, eval->done, eval->arg);
    gate_start(&call->run, eval, wrong, call->deadline_ms);
}

void saga_call_check_back(struct saga_call *call, const char *tag)
{
    const char *wrong = is_check_back(call) ? NULL
                                            : "not a check-back: those come with op msg, as "
                                              "query_prepared of a msg";
    call_evaluates(call, NULL, NULL);
    gate_check_start(&call->run, tag, wrong, call->deadline_ms);
}
