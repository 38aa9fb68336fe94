#include "coordinator/rules_impl.h"

#include "base/check.h"

void op_finish(struct txn_op_record *op, enum op_status status)
{
    op->status = status;
    op->dirty = true;
    op->parked = PARK_NOT;
    op->attempts = 0;
    op->retry_at_ms = 0;
}

/* ---- stages ---- */

static struct stage saga_stage(const struct txn *txn)
{
    bool all = txn->options.concurrent;
    if (txn->status == TXN_ABORTING) {
        return (struct stage){OP_UNDO, all ? ORDER_AGAINST : ORDER_REVERSE, false, TXN_FAILED};
    }
    return (struct stage){OP_ACTION, all ? ORDER_AFTER : ORDER_FORWARD, true, TXN_SUCCEED};
}

static struct stage tcc_stage(const struct txn *txn)
{
    if (txn->status == TXN_PREPARED) {
        return (struct stage){OP_ACTION, ORDER_NONE, true, TXN_SUBMITTED};
    }
    return txn->status == TXN_ABORTING
               ? (struct stage){OP_UNDO, ORDER_REVERSE, false, TXN_FAILED}
               : (struct stage){OP_CONFIRM, ORDER_REVERSE, false, TXN_SUCCEED};
}

static struct stage xa_stage(const struct txn *txn)
{
    return txn->status == TXN_ABORTING
               ? (struct stage){OP_UNDO, ORDER_FORWARD, false, TXN_FAILED}
               : (struct stage){OP_CONFIRM, ORDER_FORWARD, false, TXN_SUCCEED};
}

static struct stage msg_stage(const struct txn *txn)
{
    enum stage_order order = txn->options.concurrent ? ORDER_NONE : ORDER_FORWARD;
    return (struct stage){OP_ACTION, order, false, TXN_SUCCEED};
}

struct stage stage_of(const struct txn *txn)
{
    switch (txn->type) {
    case TXN_SAGA: return saga_stage(txn);
    case TXN_TCC: return tcc_stage(txn);
    case TXN_XA: return xa_stage(txn);
    case TXN_MSG: return msg_stage(txn);
    case TXN_WORKFLOW: break;
    }
    unreachable("a workflow has no stages");
}

/* ---- what is to be called ---- */

static bool is_among(size_t index, const struct txn_branch *branch)
{
    for (size_t i = 0; i < branch->after_count; i++) {
        if (branch->after[i] == index) {
            return true;
        }
    }
    return false;
}

/* Must the op of this branch be done in this stage at all? */
static bool is_wanted(const struct txn *txn, const struct stage *stage, size_t index)
{
    bool client_called = txn->type == TXN_XA || (txn->type == TXN_TCC && !txn->options.declared);
    return stage->op != OP_UNDO || client_called ||
           txn->branches[index].ops[OP_ACTION].status != OP_PREPARED;
}

bool stage_is_done(const struct txn *txn, const struct stage *stage, size_t index)
{
    return txn->branches[index].ops[stage->op].status == OP_SUCCEED ||
           !is_wanted(txn, stage, index);
}

static bool has_succeeded(const struct txn *txn, size_t index)
{
    return txn->branches[index].ops[OP_ACTION].status == OP_SUCCEED;
}

/* Against the orders, and first what did not succeed: its undo bars the action, so that whoever
 * goes on without knowing of the decision to abort, because the store has lost it, is refused
 * there. What was undone before would count as done. */
static bool is_undone_before(const struct txn *txn, size_t first, size_t index)
{
    return is_among(index, &txn->branches[first]) ||
           (has_succeeded(txn, index) && !has_succeeded(txn, first));
}

bool stage_before_is_done(const struct txn *txn, const struct stage *stage, size_t index)
{
    const struct txn_branch *branch = &txn->branches[index];
    for (size_t i = 0; stage->order == ORDER_AFTER && i < branch->after_count; i++) {
        if (!stage_is_done(txn, stage, branch->after[i])) {
            return false;
        }
    }
    for (size_t i = 0; stage->order == ORDER_AGAINST && i < txn->branch_count; i++) {
        if (is_undone_before(txn, i, index) && !stage_is_done(txn, stage, i)) {
            return false;
        }
    }
    return true; /* the other orders are kept by the way the branches are gone through */
}

/* The first open op ends the search: none of the others can be called. */
static bool is_strict(const struct stage *stage)
{
    return stage->order == ORDER_FORWARD || stage->order == ORDER_REVERSE;
}

struct search {
    struct step step;
    bool open;    /* something of the stage is not done */
    bool skipped; /* something without a url was done just now */
    bool parked;  /* step.op of branches[step.branch] is, unless there is something to call */
};

/* The first one is told. */
static void found_parked(struct search *search, size_t index, enum txn_op op)
{
    if (!search->parked && search->step.next != NEXT_CALL) {
        search->step.branch = index;
        search->step.op = op;
    }
    search->parked = true;
}

static void look_at(struct txn *txn, const struct stage *stage, size_t index, int64_t now_ms,
                    struct search *search)
{
    struct txn_op_record *op = &txn->branches[index].ops[stage->op];
    if (stage_is_done(txn, stage, index)) {
        return;
    }
    if (!stage_before_is_done(txn, stage, index)) {
        search->open = true;
    } else if (op->url.len == 0) {
        op_finish(op, OP_SUCCEED);
        search->step.save = SAVE_LAZY;
        search->skipped = true;
    } else {
        search->open = true;
        if (op->calling) {
            return;
        }
        if (op->parked) {
            found_parked(search, index, stage->op);
        } else if (op->retry_at_ms > now_ms) {
            if (op->retry_at_ms < search->step.until_ms) {
                search->step.until_ms = op->retry_at_ms;
            }
        } else if (search->step.next != NEXT_CALL) {
            search->step.next = NEXT_CALL;
            search->step.branch = index;
            search->step.op = stage->op;
        }
    }
}

static struct search search_stage(struct txn *txn, const struct stage *stage, int64_t now_ms)
{
    struct search search = {.step = {.next = NEXT_WAIT, .until_ms = INT64_MAX}};
    do {
        search.skipped = search.open = false;
        for (size_t i = 0; i < txn->branch_count; i++) {
            size_t index = stage->order == ORDER_REVERSE ? txn->branch_count - 1 - i : i;
            look_at(txn, stage, index, now_ms, &search);
            if (search.open && (is_strict(stage) || search.step.next == NEXT_CALL)) {
                return search;
            }
        }
    } while (search.skipped && search.open && !is_strict(stage));
    return search;
}

static struct step step_await(int64_t until_ms)
{
    return (struct step){.next = NEXT_AWAIT, .until_ms = until_ms};
}

/* Failures count in a row, of an op: what comes now begins anew, and nothing is parked. */
void attempts_forget(struct txn *txn)
{
    for (size_t i = 0; txn->attempts > 0 && i <= txn->branch_count; i++) {
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            txn->branches[i].ops[op].attempts = 0;
            txn->branches[i].ops[op].parked = PARK_NOT;
        }
    }
    txn->attempts = 0;
}

enum step_save status_set(struct txn *txn, enum txn_status status)
{
    txn->status = status;
    attempts_forget(txn);
    return SAVE_FIRST;
}

/* Are there calls in flight that do not belong to this stage? */
static bool strangers_called(const struct txn *txn, const struct stage *stage)
{
    size_t own = 0;
    for (size_t i = 0; txn->run.calls > 0 && i < txn->branch_count; i++) {
        own += txn->branches[i].ops[stage->op].calling;
    }
    return txn->run.calls > own;
}

static struct step next_in_stage(struct txn *txn, const struct stage *stage, int64_t now_ms)
{
    if (strangers_called(txn, stage)) {
        return step_await(INT64_MAX);
    }
    struct search search = search_stage(txn, stage, now_ms);
    struct step step = search.step;
    if (!search.open) {
        enum step_save save = status_set(txn, stage->then);
        step = rules_next(txn, now_ms);
        step.save = save;
    } else if (step.next == NEXT_WAIT && txn->run.calls > 0) {
        step.next = NEXT_AWAIT;
    } else if (step.next == NEXT_WAIT && search.parked && step.until_ms == INT64_MAX) {
        step.next = NEXT_PARK;
    }
    return step;
}

/* The check-back of a msg, the resume of a workflow. */
static struct step next_check(struct txn *txn, int64_t now_ms)
{
    const struct txn_op_record *op = &txn_check_branch(txn)->ops[OP_ACTION];
    if (op->calling) {
        return step_await(INT64_MAX);
    }
    if (op->parked) {
        return (struct step){
            .next = NEXT_PARK, .branch = txn->branch_count, .op = OP_ACTION, .until_ms = INT64_MAX};
    }
    if (op->retry_at_ms > now_ms || op->url.len == 0) {
        int64_t until_ms = op->url.len == 0 ? INT64_MAX : op->retry_at_ms;
        return (struct step){.next = NEXT_WAIT, .until_ms = until_ms};
    }
    return (struct step){.next = NEXT_CALL, .branch = txn->branch_count, .op = OP_ACTION};
}

static struct step next_prepared(struct txn *txn, int64_t now_ms)
{
    if (txn->type == TXN_TCC && txn->options.declared) {
        struct stage stage = tcc_stage(txn);
        return next_in_stage(txn, &stage, now_ms);
    }
    if (txn->type == TXN_MSG || txn->type == TXN_WORKFLOW) {
        return next_check(txn, now_ms);
    }
    return (struct step){.next = NEXT_WAIT, .until_ms = INT64_MAX}; /* for the client */
}

struct step rules_next(struct txn *txn, int64_t now_ms)
{
    struct stage stage;
    switch (txn->status) {
    case TXN_PREPARED: return next_prepared(txn, now_ms);
    case TXN_SUBMITTED:
        if (txn->run.start_at_ms > now_ms) {
            return (struct step){.next = NEXT_WAIT, .until_ms = txn->run.start_at_ms};
        }
        stage = stage_of(txn);
        return next_in_stage(txn, &stage, now_ms);
    case TXN_ABORTING: stage = stage_of(txn); return next_in_stage(txn, &stage, now_ms);
    case TXN_SUCCEED:
    case TXN_FAILED: return (struct step){.next = NEXT_END, .until_ms = INT64_MAX};
    }
    unreachable("status");
}
