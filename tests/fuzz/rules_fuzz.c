/*
 * Any bytes as the life of a transaction of any type, given to the rules: what they ask for must
 * always be allowed by its state, it must be able to end, and it must never end half. First bytes:
 * type, options, how many branches and their urls and order; then events.
 */
#include "fuzz.h"

#include "base/check.h"
#include "coordinator/rules.h"

enum { STEPS_MAX = 5, CALLS_MAX = STEPS_MAX + 1 };

struct input {
    const uint8_t *data;
    size_t left;
};

struct play {
    struct txn *txn;
    struct step calls[CALLS_MAX]; /* in flight */
    size_t call_count;
    int64_t now_ms;
    bool forced;
};

static const struct step_limits limits = {
    .retry_interval_ms = 100, .retry_interval_max_ms = 3000, .park_after = 3};

static uint8_t take(struct input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static struct slice url_if(bool is)
{
    return slice_str(is ? "tcp://p/P.S/Do" : "");
}

static void make_steps(struct input *in, struct txn_spec *spec, enum txn_type type,
                       struct txn_step *steps, uint8_t (*after)[STEPS_MAX])
{
    for (size_t i = 0; i < spec->step_count; i++) {
        uint8_t urls = take(in), order = take(in);
        steps[i] = (struct txn_step){.after = after[i]};
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            bool has = txn_op_name(type, (enum txn_op)op) && !(urls & (1u << op));
            steps[i].urls[op] = url_if(has);
        }
        for (uint8_t j = 0; spec->options.concurrent && j < i; j++) {
            if (order & (1u << j)) {
                after[i][steps[i].after_count++] = j;
            }
        }
    }
}

static struct txn *make(struct input *in)
{
    static const enum txn_type types[] = {TXN_SAGA, TXN_SAGA, TXN_TCC,     TXN_TCC,
                                          TXN_MSG,  TXN_XA,   TXN_WORKFLOW};
    struct txn_step steps[STEPS_MAX];
    uint8_t after[STEPS_MAX][STEPS_MAX];
    enum txn_type type = types[take(in) % 7];
    uint8_t options = take(in);
    struct txn_spec spec = {.gid = slice_str("g"),
                            .trans_type = slice_str(txn_type_name(type)),
                            .steps = steps,
                            .prepare = options & 32,
                            .query_prepared = url_if(options & 64)};
    spec.step_count = 1 + take(in) % STEPS_MAX;
    spec.options.declared = type == TXN_TCC && options & 128;
    spec.options.concurrent = (type == TXN_SAGA || type == TXN_MSG) && options & 128;
    spec.options.retry_limit = options & 3;
    spec.options.timeout_to_fail_ms = options & 4 ? 1500 : 0;
    spec.prepare |= type == TXN_XA || type == TXN_WORKFLOW || type == TXN_TCC;
    make_steps(in, &spec, type, steps, after);
    struct txn *txn = txn_new(&spec);
    txn->run.timeout_at_ms = options & 4 ? 1500 : INT64_MAX;
    txn->sure = !(options & 8);
    txn->run.inherited = options & 16;
    return txn;
}

/* ---- what may be asked for ---- */

static bool is_undone(const struct txn_branch *branch)
{
    return branch->ops[OP_UNDO].status == OP_SUCCEED ||
           branch->ops[OP_ACTION].status == OP_PREPARED;
}

static bool comes_after(const struct txn *txn, size_t later, size_t earlier)
{
    const struct txn_branch *branch = &txn->branches[later];
    for (size_t i = 0; i < branch->after_count; i++) {
        if (branch->after[i] == earlier) {
            return true;
        }
    }
    return !txn->options.concurrent && later > earlier;
}

static void check_order(const struct txn *txn, const struct step *step)
{
    for (size_t i = 0; txn->type == TXN_SAGA && i < txn->branch_count; i++) {
        if (step->op == OP_ACTION && comes_after(txn, step->branch, i)) {
            check(txn->branches[i].ops[OP_ACTION].status == OP_SUCCEED);
        }
        if (step->op == OP_UNDO && comes_after(txn, i, step->branch)) {
            check(is_undone(&txn->branches[i]));
        }
    }
}

static void check_call(const struct play *play, const struct step *step)
{
    const struct txn *txn = play->txn;
    const struct txn_op_record *op = &txn->branches[step->branch].ops[step->op];
    check(op->url.len > 0 && op->status != OP_SUCCEED && !op->calling && !op->parked);
    if (step->branch == txn->branch_count) {
        check(txn->status == TXN_PREPARED && (txn->type == TXN_MSG || txn->type == TXN_WORKFLOW));
        return;
    }
    switch (step->op) {
    case OP_ACTION:
        check(txn->status == (txn->type == TXN_TCC ? TXN_PREPARED : TXN_SUBMITTED));
        break;
    case OP_CONFIRM: check(txn->status == TXN_SUBMITTED); break;
    case OP_UNDO: check(txn->status == TXN_ABORTING); break;
    }
    for (size_t i = 0; i < play->call_count; i++) {
        check(play->calls[i].op == step->op); /* those of before were awaited */
    }
    check_order(txn, step);
}

/* Never half: who confirmed was not cancelled, and of those that ended as failed all is undone. */
static void check_end(const struct play *play)
{
    const struct txn *txn = play->txn;
    for (size_t i = 0; i < txn->branch_count && !play->forced; i++) {
        const struct txn_op_record *ops = txn->branches[i].ops;
        bool has_undo = txn->type != TXN_MSG && txn->type != TXN_WORKFLOW;
        if (txn->status == TXN_SUCCEED) {
            check(ops[OP_UNDO].status == OP_PREPARED);
            check(txn->type != TXN_TCC || ops[OP_CONFIRM].status == OP_SUCCEED);
            check(txn->type != TXN_SAGA || ops[OP_ACTION].status == OP_SUCCEED);
        } else {
            check(ops[OP_CONFIRM].status == OP_PREPARED);
            check(!has_undo || is_undone(&txn->branches[i]));
        }
    }
    check(txn->status == TXN_SUCCEED || txn->type == TXN_WORKFLOW || txn->rollback_reason.len > 0);
}

static void check_transition(const struct txn *txn, enum txn_status before, bool forced)
{
    if (before == txn->status || forced) {
        return;
    }
    check(before != TXN_ABORTING || txn->status == TXN_FAILED);
    check(before != TXN_SUBMITTED || txn->type == TXN_SAGA || txn->status == TXN_SUCCEED);
}

static void check_step(const struct play *play, const struct step *step, enum txn_status before)
{
    const struct txn *txn = play->txn;
    check(before == txn->status || step->save == SAVE_FIRST);
    check_transition(txn, before, play->forced);
    check(txn->run.calls == play->call_count);
    switch (step->next) {
    case NEXT_CALL: check_call(play, step); break;
    case NEXT_WAIT: check(step->until_ms > play->now_ms && play->call_count == 0); break;
    case NEXT_AWAIT: check(step->until_ms > play->now_ms && play->call_count > 0); break;
    case NEXT_PARK:
        check(play->call_count == 0 && txn->branches[step->branch].ops[step->op].parked);
        break;
    case NEXT_END: check_end(play); break;
    }
}

/* Gives the event to the rules, and calls whatever they ask for. */
static void give(struct play *play, struct event event)
{
    struct step step;
    do {
        enum txn_status before = play->txn->status;
        event.now_ms = play->now_ms;
        step = rules_step(play->txn, &limits, &event);
        check_step(play, &step, before);
        if (step.next == NEXT_CALL) {
            rules_call_begins(play->txn, step.branch, step.op);
            play->calls[play->call_count++] = step;
        }
        event = (struct event){.kind = EVENT_TICK};
    } while (step.next == NEXT_CALL);
}

static struct event ended(struct play *play, size_t index, enum call_verdict verdict)
{
    struct step call = play->calls[index];
    play->calls[index] = play->calls[--play->call_count];
    return (struct event){.kind = EVENT_CALLED,
                          .branch = call.branch,
                          .op = call.op,
                          .verdict = verdict,
                          .text = slice_str("why")};
}

static struct event next_event(struct play *play, struct input *in)
{
    static const enum event_kind kinds[] = {EVENT_TICK,      EVENT_CALLED, EVENT_CALLED,
                                            EVENT_CALLED,    EVENT_ABORT,  EVENT_FORCE_STOP,
                                            EVENT_RETRY_NOW, EVENT_SUBMIT, EVENT_FINISH};
    uint8_t byte = take(in);
    struct event event = {.kind = kinds[byte % 9],
                          .status = byte & 16 ? TXN_SUCCEED : TXN_FAILED,
                          .text = slice_str("why"),
                          .random = byte};
    play->now_ms += byte & 8 ? 10 * (int64_t)take(in) : 0;
    play->forced = event.kind == EVENT_FORCE_STOP;
    if (event.kind == EVENT_RETRY_NOW && byte & 64) {
        event.kind = EVENT_RESOLVE;
    }
    if (event.kind == EVENT_CALLED && play->call_count > 0) {
        enum call_verdict verdict =
            byte & 64 ? CALL_CONFLICT : (enum call_verdict)((byte >> 4) & 3);
        event = ended(play, take(in) % play->call_count, verdict);
    } else if (event.kind == EVENT_CALLED) {
        event.kind = EVENT_TICK;
    } else if (event.kind == EVENT_RESOLVE) {
        event.branch = take(in) % (play->txn->branch_count + 1);
        event.op = (enum txn_op)(byte & 16 ? OP_UNDO : byte & 32 ? OP_CONFIRM : OP_ACTION);
    }
    return event;
}

/* From anywhere, patience, good answers and a client that decides lead to an end. */
static void finish(struct play *play)
{
    for (int i = 0; !txn_status_is_final(play->txn->status); i++) {
        check(i < 8 * STEPS_MAX);
        play->now_ms += 100000;
        struct event event = {.kind = i % 3 == 0 ? EVENT_SUBMIT : EVENT_FINISH,
                              .status = TXN_FAILED,
                              .text = slice_str("why")};
        if (i == 0) {
            event.kind = EVENT_RETRY_NOW; /* what is parked is brought back */
        } else if (play->call_count > 0) {
            event = ended(play, 0, CALL_SUCCESS);
        }
        give(play, event);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct play play = {.txn = make(&in)};
    while (in.left > 0 && !txn_status_is_final(play.txn->status)) {
        give(&play, next_event(&play, &in));
    }
    finish(&play);
    txn_free(play.txn);
    return 0;
}
