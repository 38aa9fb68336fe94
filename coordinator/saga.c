#include "coordinator/saga.h"

#include "base/check.h"
#include "coordinator/retry.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    REASON_URL_MAX = 256, /* bytes of the url and of the answer that go into rollback_reason */
    REASON_ANSWER_MAX = 512,
};

static enum step_save save_max(enum step_save a, enum step_save b)
{
    return a > b ? a : b;
}

static void op_finish(struct txn_op_record *op, enum op_status status)
{
    op->status = status;
    op->dirty = true;
}

/* ---- what is next ---- */

/* The first action that did not succeed yet; branch_count when all did. */
static size_t first_open_action(const struct txn *txn)
{
    size_t i = 0;
    while (i < txn->branch_count && txn->branches[i].ops[OP_ACTION].status == OP_SUCCEED) {
        i++;
    }
    return i;
}

/* How many branches, from the first on, must be compensated or have been. */
static size_t compensate_count(const struct txn *txn)
{
    /* They were undone from the top: what lies above the highest one needs nothing. */
    for (size_t i = txn->branch_count; i > 0; i--) {
        if (txn->branches[i - 1].ops[OP_COMPENSATE].status == OP_SUCCEED) {
            return i;
        }
    }
    /* An owner that was ousted may have called any later action, and its calls may still arrive:
     * a compensation without its action is empty, but it bars the action. */
    if (!txn->sure) {
        return txn->branch_count;
    }
    size_t open = first_open_action(txn);
    bool reached =
        open < txn->branch_count &&
        (txn->branches[open].ops[OP_ACTION].status == OP_FAILED || txn->run.maybe_started);
    return reached ? open + 1 : open;
}

/* The branch to compensate next, plus one; 0 when all is undone. */
static size_t next_compensation(const struct txn *txn)
{
    size_t i = compensate_count(txn);
    while (i > 0 && txn->branches[i - 1].ops[OP_COMPENSATE].status == OP_SUCCEED) {
        i--;
    }
    return i;
}

static struct step step_end(struct txn *txn, enum txn_status status)
{
    txn->status = status;
    txn->attempts = 0;
    txn->run.retry_at_ms = 0;
    return (struct step){.save = SAVE_FIRST, .next = NEXT_END};
}

/* Calls an op, or waits when it is not time yet. */
static struct step step_call(const struct txn *txn, int64_t now_ms, size_t branch, enum txn_op op)
{
    if (txn->run.retry_at_ms > now_ms) {
        return (struct step){.next = NEXT_WAIT, .until_ms = txn->run.retry_at_ms};
    }
    return (struct step){.next = NEXT_CALL, .branch = branch, .op = op};
}

static struct step next_forward(struct txn *txn, int64_t now_ms)
{
    enum step_save save = SAVE_NONE;
    size_t i = first_open_action(txn);
    while (i < txn->branch_count && txn->branches[i].ops[OP_ACTION].url.len == 0) {
        op_finish(&txn->branches[i].ops[OP_ACTION], OP_SUCCEED);
        save = SAVE_LAZY;
        i = first_open_action(txn);
    }
    if (i == txn->branch_count) {
        return step_end(txn, TXN_SUCCEED);
    }
    struct step step = step_call(txn, now_ms, i, OP_ACTION);
    step.save = save;
    return step;
}

static struct step next_backward(struct txn *txn, int64_t now_ms)
{
    enum step_save save = SAVE_NONE;
    size_t i = next_compensation(txn);
    while (i > 0 && txn->branches[i - 1].ops[OP_COMPENSATE].url.len == 0) {
        op_finish(&txn->branches[i - 1].ops[OP_COMPENSATE], OP_SUCCEED);
        save = SAVE_LAZY;
        i = next_compensation(txn);
    }
    if (i == 0) {
        return step_end(txn, TXN_FAILED);
    }
    struct step step = step_call(txn, now_ms, i - 1, OP_COMPENSATE);
    step.save = save;
    return step;
}

static struct step next_of(struct txn *txn, int64_t now_ms)
{
    if (txn->run.calling) {
        return (struct step){.next = NEXT_AWAIT};
    }
    switch (txn->status) {
    case TXN_PREPARED: break;
    case TXN_SUBMITTED: return next_forward(txn, now_ms);
    case TXN_ABORTING: return next_backward(txn, now_ms);
    case TXN_SUCCEED:
    case TXN_FAILED: return (struct step){.next = NEXT_END};
    }
    unreachable("a saga is never prepared");
}

/* ---- turning round ---- */

static enum step_save turn_round(struct txn *txn, struct slice reason)
{
    txn->status = TXN_ABORTING;
    txn->attempts = 0;
    txn->run.retry_at_ms = 0;
    txn_set_reason(txn, reason);
    return SAVE_FIRST;
}

static enum step_save fail_branch(struct txn *txn, struct txn_op_record *op, struct slice answer)
{
    char url[REASON_URL_MAX + 1];
    char shown[REASON_ANSWER_MAX + 1];
    char reason[REASON_URL_MAX + REASON_ANSWER_MAX + 32];
    op_finish(op, OP_FAILED);
    int n = snprintf(reason, sizeof(reason), "url:%s return failed: %s",
                     slice_printable(op->url, url, sizeof(url)),
                     slice_printable(answer, shown, sizeof(shown)));
    return turn_round(txn, slice_make(reason, (size_t)n));
}

static enum step_save time_out(struct txn *txn)
{
    char reason[64];
    int64_t ms = txn->options.timeout_to_fail_ms;
    int n = ms % 1000 == 0
                ? snprintf(reason, sizeof(reason), "Timeout after %" PRId64 " seconds", ms / 1000)
                : snprintf(reason, sizeof(reason), "Timeout after %" PRId64 ".%03d seconds",
                           ms / 1000, (int)(ms % 1000));
    return turn_round(txn, slice_make(reason, (size_t)n));
}

static enum step_save give_up(struct txn *txn)
{
    char reason[96];
    int n = snprintf(reason, sizeof(reason),
                     "RetryCount is greater than RetryLimit, RetryLimit: %" PRId64,
                     txn->options.retry_limit);
    return turn_round(txn, slice_make(reason, (size_t)n));
}

/* ---- events ---- */

static int64_t base_interval(const struct txn *txn, const struct step_limits *limits)
{
    return txn->options.retry_interval_ms > 0 ? txn->options.retry_interval_ms
                                              : limits->retry_interval_ms;
}

static enum step_save retry_later(struct txn *txn, const struct step_limits *limits,
                                  const struct event *event)
{
    txn->run.retry_at_ms =
        event->now_ms + retry_delay_ms(base_interval(txn, limits), limits->retry_interval_max_ms,
                                       txn->attempts, event->random);
    txn->attempts++;
    return SAVE_FIRST;
}

/* The participant is at work: asked again at a steady pace, it has not failed. */
static enum step_save ask_later(struct txn *txn, const struct step_limits *limits,
                                const struct event *event)
{
    txn->run.retry_at_ms = event->now_ms + base_interval(txn, limits);
    return SAVE_FIRST;
}

static enum step_save op_succeeded(struct txn *txn, struct txn_op_record *op)
{
    op_finish(op, OP_SUCCEED);
    txn->attempts = 0;
    txn->run.maybe_started = txn->run.maybe_started && txn->run.op == OP_COMPENSATE;
    return SAVE_LAZY;
}

/* An action ended while the saga goes on. */
static enum step_save action_called(struct txn *txn, const struct step_limits *limits,
                                    const struct event *event, struct txn_op_record *op)
{
    switch (event->verdict) {
    case CALL_SUCCESS: return op_succeeded(txn, op);
    case CALL_FAILURE: return fail_branch(txn, op, event->text);
    case CALL_ONGOING: return ask_later(txn, limits, event);
    case CALL_ERROR: break;
    }
    txn->retry_count++;
    if (txn->options.retry_limit > 0 && txn->retry_count > txn->options.retry_limit) {
        return give_up(txn);
    }
    return retry_later(txn, limits, event);
}

/* An action ended after the decision to abort: its branch is compensated whatever came of it. */
static enum step_save late_action_called(struct txn *txn, struct txn_op_record *op,
                                         enum call_verdict verdict)
{
    switch (verdict) {
    case CALL_SUCCESS: return op_succeeded(txn, op);
    case CALL_FAILURE: op_finish(op, OP_FAILED); return SAVE_LAZY;
    case CALL_ONGOING:
    case CALL_ERROR: break;
    }
    return SAVE_NONE;
}

static enum step_save compensation_called(struct txn *txn, const struct step_limits *limits,
                                          const struct event *event, struct txn_op_record *op)
{
    switch (event->verdict) {
    case CALL_SUCCESS: return op_succeeded(txn, op);
    case CALL_ONGOING: return ask_later(txn, limits, event);
    case CALL_FAILURE: /* nobody can refuse to be undone: it is an error like any other */
    case CALL_ERROR: break;
    }
    return retry_later(txn, limits, event);
}

static enum step_save called(struct txn *txn, const struct step_limits *limits,
                             const struct event *event)
{
    check(txn->run.calling);
    txn->run.calling = false;
    struct txn_op_record *op = &txn->branches[txn->run.branch].ops[txn->run.op];
    if (txn->run.op == OP_COMPENSATE) {
        return compensation_called(txn, limits, event, op);
    }
    return txn->status == TXN_ABORTING ? late_action_called(txn, op, event->verdict)
                                       : action_called(txn, limits, event, op);
}

static enum step_save force_stop(struct txn *txn, struct slice reason)
{
    txn->run.calling = false; /* whatever it brings, nobody waits for it */
    if (txn->rollback_reason.len == 0) {
        txn_set_reason(txn, reason);
    }
    return step_end(txn, TXN_FAILED).save;
}

static enum step_save take_event(struct txn *txn, const struct step_limits *limits,
                                 const struct event *event)
{
    switch (event->kind) {
    case EVENT_TICK: return SAVE_NONE;
    case EVENT_CALLED: return called(txn, limits, event);
    case EVENT_ABORT:
        return txn->status == TXN_SUBMITTED ? turn_round(txn, event->text) : SAVE_NONE;
    case EVENT_FORCE_STOP: return force_stop(txn, event->text);
    case EVENT_RETRY_NOW: txn->run.retry_at_ms = 0; return SAVE_NONE;
    }
    unreachable("event");
}

struct step saga_step(struct txn *txn, const struct step_limits *limits, const struct event *event)
{
    check(!txn_status_is_final(txn->status));
    enum step_save save = take_event(txn, limits, event);
    struct step step = next_of(txn, event->now_ms);
    save = save_max(save, step.save);
    /* A saga whose last action has just succeeded has made it, however late. */
    if (txn->status == TXN_SUBMITTED && event->now_ms >= txn->run.timeout_at_ms) {
        save = save_max(save, time_out(txn));
        step = next_of(txn, event->now_ms);
    }
    step.save = save_max(save, step.save);
    return step;
}
