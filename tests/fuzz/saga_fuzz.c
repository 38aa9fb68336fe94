/*
 * Any bytes as the life of a saga, given to the rules: what they ask for must always be allowed by
 * its state, and it must be able to end. First byte: how many steps; then, for each step, which
 * urls it has; then events.
 */
#include "fuzz.h"

#include "base/check.h"
#include "coordinator/saga.h"

enum { STEPS_MAX = 5 };

struct input {
    const uint8_t *data;
    size_t left;
};

static uint8_t take(struct input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static struct txn *make(struct input *in)
{
    struct txn_step steps[STEPS_MAX];
    struct txn_spec spec = {.gid = slice_str("g"), .trans_type = slice_str("saga"), .steps = steps};
    spec.step_count = 1 + take(in) % STEPS_MAX;
    for (size_t i = 0; i < spec.step_count; i++) {
        uint8_t urls = take(in);
        steps[i] = (struct txn_step){.action = slice_str(urls & 1 ? "" : "tcp://p/P.S/Do"),
                                     .compensate = slice_str(urls & 2 ? "" : "tcp://p/P.S/No")};
    }
    uint8_t options = take(in);
    spec.options.retry_limit = options & 3;
    spec.options.timeout_to_fail_ms = options & 4 ? 1500 : 0;
    struct txn *txn = txn_new(&spec);
    txn->run.timeout_at_ms = options & 4 ? 1500 : INT64_MAX;
    txn->sure = !(options & 8);
    txn->run.maybe_started = options & 16;
    return txn;
}

/* What may be called now: I2, order, no op twice, nothing without a url. */
static void check_call(const struct txn *txn, const struct step *step)
{
    check(step->branch < txn->branch_count && !txn->run.calling);
    const struct txn_branch *branch = &txn->branches[step->branch];
    check(branch->ops[step->op].url.len > 0 && branch->ops[step->op].status != OP_SUCCEED);
    check(txn->status == (step->op == OP_ACTION ? TXN_SUBMITTED : TXN_ABORTING));
    for (size_t i = 0; step->op == OP_ACTION && i < step->branch; i++) {
        check(txn->branches[i].ops[OP_ACTION].status == OP_SUCCEED);
    }
    for (size_t i = step->branch + 1; step->op == OP_COMPENSATE && i < txn->branch_count; i++) {
        bool undone = txn->branches[i].ops[OP_COMPENSATE].status == OP_SUCCEED;
        check(undone || txn->branches[i].ops[OP_ACTION].status == OP_PREPARED);
    }
}

static void check_end(const struct txn *txn, bool forced)
{
    check(txn_status_is_final(txn->status));
    for (size_t i = 0; i < txn->branch_count; i++) {
        const struct txn_op_record *ops = txn->branches[i].ops;
        if (txn->status == TXN_SUCCEED) {
            check(ops[OP_ACTION].status == OP_SUCCEED && ops[OP_COMPENSATE].status == OP_PREPARED);
        } else if (!forced) {
            check(ops[OP_ACTION].status == OP_PREPARED || ops[OP_COMPENSATE].status == OP_SUCCEED);
        }
    }
    check(txn->status == TXN_SUCCEED || txn->rollback_reason.len > 0);
}

static void check_step(const struct txn *txn, const struct step *step, const struct event *event,
                       enum txn_status before)
{
    check(before == txn->status || step->save == SAVE_FIRST);
    check(before != TXN_ABORTING || txn->status != TXN_SUCCEED);
    switch (step->next) {
    case NEXT_CALL: check_call(txn, step); break;
    case NEXT_WAIT: check(step->until_ms > event->now_ms && !txn->run.calling); break;
    case NEXT_AWAIT: check(txn->run.calling); break;
    case NEXT_END: check_end(txn, event->kind == EVENT_FORCE_STOP); break;
    }
}

static void perform(struct txn *txn, const struct step *step)
{
    if (step->next == NEXT_CALL) {
        txn->run.calling = true;
        txn->run.branch = step->branch;
        txn->run.op = step->op;
        txn->run.maybe_started = txn->run.maybe_started || step->op == OP_ACTION;
    }
}

static struct event next_event(const struct txn *txn, struct input *in, int64_t *now_ms)
{
    static const enum event_kind kinds[] = {EVENT_TICK,  EVENT_CALLED,     EVENT_CALLED,
                                            EVENT_ABORT, EVENT_FORCE_STOP, EVENT_RETRY_NOW};
    uint8_t byte = take(in);
    struct event event = {.kind = kinds[byte % 6], .verdict = (enum call_verdict)((byte >> 4) & 3)};
    event.text =
        in->left > 0 ? slice_make(in->data, in->left < 20 ? in->left : 20) : slice_str("why");
    event.random = byte;
    *now_ms += byte & 8 ? 10 * (int64_t)take(in) : 0;
    event.now_ms = *now_ms;
    if (event.kind == EVENT_CALLED && !txn->run.calling) {
        event.kind = EVENT_TICK;
    }
    return event;
}

/* From anywhere, patience and good answers lead to an end. */
static void finish(struct txn *txn, const struct step_limits *limits, int64_t now_ms)
{
    for (int i = 0; !txn_status_is_final(txn->status); i++) {
        check(i < 4 * STEPS_MAX + 4);
        now_ms += 100000;
        struct event event = {.kind = txn->run.calling ? EVENT_CALLED : EVENT_TICK,
                              .verdict = CALL_SUCCESS,
                              .now_ms = now_ms};
        enum txn_status before = txn->status;
        struct step step = saga_step(txn, limits, &event);
        check_step(txn, &step, &event, before);
        perform(txn, &step);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct step_limits limits = {.retry_interval_ms = 100, .retry_interval_max_ms = 3000};
    struct input in = {data, size};
    struct txn *txn = make(&in);
    int64_t now_ms = 0;
    while (in.left > 0 && !txn_status_is_final(txn->status)) {
        struct event event = next_event(txn, &in, &now_ms);
        enum txn_status before = txn->status;
        struct step step = saga_step(txn, &limits, &event);
        check_step(txn, &step, &event, before);
        perform(txn, &step);
    }
    finish(txn, &limits, now_ms);
    txn_free(txn);
    return 0;
}
