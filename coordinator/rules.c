#include "coordinator/rules_impl.h"

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

static struct txn_op_record *op_at(struct txn *txn, size_t branch, enum txn_op op)
{
    return &txn->branches[branch].ops[op];
}

/* ---- turning round ---- */

/* Was it called, or could it have been by an owner before this one? */
static bool may_have_begun(const struct txn *txn, const struct stage *stage, size_t index)
{
    if (txn->branches[index].ops[OP_ACTION].called || !txn->sure) {
        return true;
    }
    if (!txn->run.inherited) {
        return false;
    }
    for (size_t i = 0; stage->order == ORDER_FORWARD && i < index; i++) {
        if (!stage_is_done(txn, stage, i)) {
            return false;
        }
    }
    return stage_before_is_done(txn, stage, index);
}

/* Says of each action that was, or may have been called, that it was: so the record tells whoever
 * goes on who is to be undone. */
static void mark_started(struct txn *txn)
{
    struct stage stage = stage_of(txn);
    for (size_t i = txn->branch_count; stage.op == OP_ACTION && i-- > 0;) {
        struct txn_op_record *op = op_at(txn, i, OP_ACTION);
        if (op->status == OP_PREPARED && may_have_begun(txn, &stage, i)) {
            op_finish(op, OP_STARTED);
        }
    }
}

static enum step_save turn_round(struct txn *txn, struct slice reason)
{
    txn_set_reason(txn, reason);
    if (txn->type == TXN_MSG) { /* nothing was delivered yet */
        return status_set(txn, TXN_FAILED);
    }
    if (txn->type != TXN_SAGA || txn->status != TXN_PREPARED) { /* that one was never let go */
        mark_started(txn);
    }
    return status_set(txn, TXN_ABORTING);
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

bool rules_can_time_out(const struct txn *txn)
{
    switch (txn->type) {
    case TXN_SAGA: return txn->status == TXN_SUBMITTED || txn->status == TXN_PREPARED;
    case TXN_TCC:
    case TXN_XA: return txn->status == TXN_PREPARED;
    case TXN_MSG: /* then it is checked back */
    case TXN_WORKFLOW: return false;
    }
    unreachable("type");
}

/* ---- events ---- */

static int64_t base_interval(const struct txn *txn, const struct step_limits *limits,
                             const struct event *event)
{
    int64_t own_ms = txn->branches[event->branch].retry_interval_ms;
    if (own_ms > 0) {
        return own_ms;
    }
    return txn->options.retry_interval_ms > 0 ? txn->options.retry_interval_ms
                                              : limits->retry_interval_ms;
}

/* An action that its client has given a timeout or a limit: this will turn the transaction round.
 */
static bool ends_by_itself(const struct txn *txn, enum txn_op op)
{
    bool limited = txn->options.retry_limit > 0 && op == OP_ACTION &&
                   (txn->type == TXN_SAGA || txn->type == TXN_TCC);
    return limited || (txn->options.timeout_to_fail_ms > 0 && rules_can_time_out(txn));
}

static enum txn_park park_reason(const struct txn *txn, const struct step_limits *limits,
                                 const struct event *event, int64_t attempts)
{
    bool conflict = event->verdict == CALL_CONFLICT;
    bool enough = limits->park_after > 0 && attempts >= limits->park_after;
    if (!(conflict || enough) || ends_by_itself(txn, event->op)) {
        return PARK_NOT;
    }
    return conflict ? PARK_CONFLICT : PARK_ATTEMPTS;
}

static enum step_save retry_later(struct txn *txn, const struct step_limits *limits,
                                  const struct event *event, struct txn_op_record *op)
{
    op->retry_at_ms =
        event->now_ms + retry_delay_ms(base_interval(txn, limits, event),
                                       limits->retry_interval_max_ms, op->attempts, event->random);
    op->attempts++;
    op->parked = park_reason(txn, limits, event, op->attempts);
    if (op->attempts > txn->attempts) {
        txn->attempts = op->attempts;
    }
    return SAVE_FIRST;
}

/* The participant is at work: asked again at a steady pace, it has not failed. */
static enum step_save ask_later(struct txn *txn, const struct step_limits *limits,
                                const struct event *event, struct txn_op_record *op)
{
    op->retry_at_ms = event->now_ms + base_interval(txn, limits, event);
    return SAVE_FIRST;
}

static enum step_save op_succeeded(struct txn *txn, const struct event *event,
                                   struct txn_op_record *op)
{
    op_finish(op, OP_SUCCEED);
    if (event->op == OP_ACTION && !txn->options.concurrent) {
        txn->run.inherited = false; /* the next one was not called by anybody before */
    }
    int64_t most = 0;
    for (size_t i = 0; txn->attempts > 0 && i < txn->branch_count; i++) {
        struct txn_op_record *other = op_at(txn, i, event->op);
        if (!other->called && !other->parked) {
            other->attempts = 0; /* the store keeps one number for all: it was not about this one */
        }
        most = other->attempts > most ? other->attempts : most;
    }
    txn->attempts = most;
    return SAVE_LAZY;
}

/* An op that nobody can refuse: everything but success is tried again. */
static enum step_save firm_called(struct txn *txn, const struct step_limits *limits,
                                  const struct event *event, struct txn_op_record *op)
{
    switch (event->verdict) {
    case CALL_SUCCESS: return op_succeeded(txn, event, op);
    case CALL_ONGOING: return ask_later(txn, limits, event, op);
    case CALL_FAILURE:
    case CALL_ERROR:
    case CALL_CONFLICT: break;
    }
    return retry_later(txn, limits, event, op);
}

/* An action or a try while the transaction goes on. */
static enum step_save refusable_called(struct txn *txn, const struct step_limits *limits,
                                       const struct event *event, struct txn_op_record *op)
{
    if (event->verdict == CALL_FAILURE) {
        return fail_branch(txn, op, event->text);
    }
    if (event->verdict == CALL_SUCCESS && txn->options.keep_results) {
        if (event->text.len > TXN_RESULT_MAX) {
            return fail_branch(txn, op, slice_str("the result is too large to be kept"));
        }
        txn->branches[event->branch].result = arena_copy(&txn->arena, event->text);
    }
    if (event->verdict == CALL_ERROR || event->verdict == CALL_CONFLICT) {
        txn->retry_count++;
        if (txn->options.retry_limit > 0 && txn->retry_count > txn->options.retry_limit) {
            return give_up(txn);
        }
    }
    return firm_called(txn, limits, event, op);
}

/* An action that ended after the decision to abort: its branch is undone whatever came of it. */
static enum step_save late_called(const struct event *event, struct txn_op_record *op)
{
    switch (event->verdict) {
    case CALL_SUCCESS: op_finish(op, OP_SUCCEED); return SAVE_LAZY;
    case CALL_FAILURE: op_finish(op, OP_FAILED); return SAVE_LAZY;
    case CALL_ONGOING:
    case CALL_ERROR:
    case CALL_CONFLICT: break;
    }
    return SAVE_NONE;
}

/* Whoever decides it: the client, its check-back or an operator. */
static enum step_save let_go(struct txn *txn, int64_t now_ms)
{
    if (txn->options.delay_ms > 0) {
        txn->run.start_at_ms = now_ms + txn->options.delay_ms;
    }
    return status_set(txn, TXN_SUBMITTED);
}

/* The client's own database told whether the message is to be sent. */
static enum step_save msg_checked(struct txn *txn, const struct step_limits *limits,
                                  const struct event *event, struct txn_op_record *op)
{
    switch (event->verdict) {
    case CALL_SUCCESS: op_finish(op, OP_SUCCEED); return let_go(txn, event->now_ms);
    case CALL_FAILURE: return fail_branch(txn, op, event->text);
    case CALL_ONGOING: return ask_later(txn, limits, event, op);
    case CALL_ERROR:
    case CALL_CONFLICT: break;
    }
    return retry_later(txn, limits, event, op);
}

static enum step_save check_called(struct txn *txn, const struct step_limits *limits,
                                   const struct event *event, struct txn_op_record *op)
{
    if (txn->status != TXN_PREPARED) {
        return SAVE_NONE; /* the client has decided meanwhile */
    }
    /* Of a workflow the client's own call decides; until then it is resumed again and again. */
    return txn->type == TXN_MSG ? msg_checked(txn, limits, event, op)
                                : retry_later(txn, limits, event, op);
}

static enum step_save called(struct txn *txn, const struct step_limits *limits,
                             const struct event *event)
{
    struct txn_op_record *op = op_at(txn, event->branch, event->op);
    check(op->calling && txn->run.calls > 0);
    op->calling = false;
    txn->run.calls--;
    if (event->branch == txn->branch_count) {
        return check_called(txn, limits, event, op);
    }
    struct stage stage = stage_of(txn);
    if (event->op != stage.op) {
        return late_called(event, op);
    }
    return stage.refusable ? refusable_called(txn, limits, event, op)
                           : firm_called(txn, limits, event, op);
}

static enum step_save force_stop(struct txn *txn, struct slice reason)
{
    if (txn->rollback_reason.len == 0) {
        txn_set_reason(txn, reason);
    }
    return status_set(txn, TXN_FAILED);
}

static enum step_save abort_asked(struct txn *txn, struct slice reason)
{
    bool can = txn->status == TXN_PREPARED ? txn->type != TXN_WORKFLOW
                                           : txn->status == TXN_SUBMITTED && txn->type == TXN_SAGA;
    return can ? turn_round(txn, reason) : SAVE_NONE;
}

static enum step_save submit_asked(struct txn *txn, const struct event *event)
{
    bool can = txn->status == TXN_PREPARED && txn->type != TXN_WORKFLOW && !txn->options.declared;
    return can ? let_go(txn, event->now_ms) : SAVE_NONE;
}

static enum step_save finish_told(struct txn *txn, const struct event *event)
{
    if (txn->type != TXN_WORKFLOW || txn->status != TXN_PREPARED) {
        return SAVE_NONE;
    }
    if (event->status == TXN_FAILED) {
        txn_set_reason(txn, event->text);
    }
    return status_set(txn, event->status);
}

bool rules_has_parked(const struct txn *txn)
{
    for (size_t i = 0; txn->attempts > 0 && i <= txn->branch_count; i++) {
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            if (txn->branches[i].ops[op].parked) {
                return true;
            }
        }
    }
    return false;
}

static enum step_save retry_now(struct txn *txn)
{
    enum step_save save = SAVE_NONE;
    if (rules_has_parked(txn)) {
        attempts_forget(txn);
        save = SAVE_FIRST;
    }
    for (size_t i = 0; i <= txn->branch_count; i++) {
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            txn->branches[i].ops[op].retry_at_ms = 0;
        }
    }
    return save;
}

/* As if its participant had answered SUCCESS now. */
static enum step_save resolve(struct txn *txn, const struct event *event)
{
    struct txn_op_record *op = op_at(txn, event->branch, event->op);
    if (!op->parked || txn->type == TXN_WORKFLOW) { /* only its client knows how that ends */
        return SAVE_NONE;
    }
    if (event->branch == txn->branch_count) {
        op_finish(op, OP_SUCCEED);
        return let_go(txn, event->now_ms);
    }
    op_succeeded(txn, event, op);
    return SAVE_FIRST;
}

static enum step_save take_event(struct txn *txn, const struct step_limits *limits,
                                 const struct event *event)
{
    switch (event->kind) {
    case EVENT_TICK: return SAVE_NONE;
    case EVENT_CALLED: return called(txn, limits, event);
    case EVENT_SUBMIT: return submit_asked(txn, event);
    case EVENT_ABORT: return abort_asked(txn, event->text);
    case EVENT_FINISH: return finish_told(txn, event);
    case EVENT_FORCE_STOP: return force_stop(txn, event->text);
    case EVENT_RETRY_NOW: return retry_now(txn);
    case EVENT_RESOLVE: return resolve(txn, event);
    }
    unreachable("event");
}

void rules_call_begins(struct txn *txn, size_t branch, enum txn_op op)
{
    struct txn_op_record *record = op_at(txn, branch, op);
    check(!record->calling);
    record->calling = record->called = true;
    txn->run.calls++;
}

struct step rules_step(struct txn *txn, const struct step_limits *limits, const struct event *event)
{
    check(!txn_status_is_final(txn->status));
    enum step_save save = take_event(txn, limits, event);
    struct step step = rules_next(txn, event->now_ms);
    save = save_max(save, step.save);
    /* A saga whose last action has just succeeded has made it, however late. */
    if (rules_can_time_out(txn) && event->now_ms >= txn->run.timeout_at_ms) {
        save = save_max(save, time_out(txn));
        step = rules_next(txn, event->now_ms);
    }
    step.save = save_max(save, step.save);
    return step;
}
