/* Calls on their way, and the participants at the end of it: each branch has its barrier. */
#include "sim.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* ---- participants ---- */

static void refuse(struct sim_txn *txn)
{
    txn->refused = txn->refused || sim_is_refusable(txn);
}

static enum call_verdict do_action(struct world *world, struct sim_txn *txn, struct sim_part *part)
{
    bool broken_late = world->broken == BREAK_I8_LATE_ACTION && !part->done;
    if (part->undone_mark && !broken_late) {
        if (world->broken == BREAK_I8_LATE_SUCCESS) {
            return CALL_SUCCESS;
        }
        refuse(txn);
        return CALL_FAILURE;
    }
    if (part->done && world->broken != BREAK_I4_NO_BARRIER) {
        return CALL_SUCCESS;
    }
    if (part->refuse_percent > 0 && rng_below(&world->rng, 100) < (uint64_t)part->refuse_percent) {
        refuse(txn);
        return CALL_FAILURE;
    }
    part->done = true;
    part->effects++;
    if (part == &txn->parts[0]) {
        sim_outbox_saga_changed(world, txn);
    }
    return CALL_SUCCESS;
}

/* I8: of confirm and cancel only the first to come happens. It takes a store that forgot a decision
 * to ask for both. */
static enum call_verdict do_conflict(struct world *world, struct sim_txn *txn)
{
    if (!txn->hit) {
        sim_fail(world, "I2", "%s: both confirm and cancel were called", txn->gid);
    }
    txn->conflict = true;
    return CALL_CONFLICT;
}

static enum call_verdict do_compensate(struct world *world, struct sim_txn *txn,
                                       struct sim_part *part)
{
    if (part->confirms > 0) {
        return do_conflict(world, txn);
    }
    if (part->undone_mark && world->broken != BREAK_I4_NO_BARRIER) {
        return CALL_SUCCESS;
    }
    part->undone_mark = true;
    if (part->done || world->broken == BREAK_I7_BLIND_UNDO) {
        part->undos++;
    }
    return CALL_SUCCESS;
}

static enum call_verdict do_confirm(struct world *world, struct sim_txn *txn, struct sim_part *part)
{
    if (part->undone_mark) {
        return do_conflict(world, txn);
    }
    if (part->confirms == 0 || world->broken == BREAK_I4_NO_BARRIER) {
        part->confirms++;
    }
    return CALL_SUCCESS;
}

static enum call_verdict do_check(struct world *world, struct sim_txn *txn)
{
    if (txn->type == TXN_WORKFLOW) {
        return sim_workflow_resume(world, txn);
    }
    if (sim_initiator_check(world, txn)) {
        return CALL_SUCCESS;
    }
    txn->refused = true;
    return CALL_FAILURE;
}

static enum call_verdict do_op(struct world *world, struct sim_txn *txn, size_t branch,
                               enum txn_op op)
{
    if (branch == SIM_CHECK) {
        return do_check(world, txn);
    }
    struct sim_part *part = &txn->parts[branch];
    switch (op) {
    case OP_ACTION: return do_action(world, txn, part);
    case OP_CONFIRM: return do_confirm(world, txn, part);
    case OP_UNDO: return do_compensate(world, txn, part);
    }
    unreachable("op");
}

struct op_text {
    char text[32];
};

/* "01 confirm" */
static struct op_text op_text(const struct sim_txn *txn, size_t branch, enum txn_op op)
{
    struct op_text out;
    char id[SIM_ID_SIZE];
    const char *name = branch == SIM_CHECK ? "check-back" : txn_op_name(txn->type, op);
    snprintf(out.text, sizeof(out.text), "%s %s", sim_branch_id(branch, id).ptr,
             name            ? name
             : op == OP_UNDO ? "undo"
                             : "step");
    return out;
}

static void check_done(struct world *world, const struct sim_txn *txn, size_t branch)
{
    if (branch != SIM_CHECK) {
        check_part(world, txn, branch);
    }
}

enum call_verdict sim_do_by_hand(struct world *world, struct sim_txn *txn, size_t branch,
                                 enum txn_op op)
{
    enum call_verdict verdict = do_op(world, txn, branch, op);
    sim_trace(world, "operator: %s %s by hand: %s", txn->gid, op_text(txn, branch, op).text,
              call_verdict_name(verdict));
    check_done(world, txn, branch);
    return verdict;
}

enum call_verdict sim_participate(struct world *world, struct sim_txn *txn, size_t branch,
                                  enum txn_op op)
{
    /* See the list in sim_store.c. */
    if (op == OP_UNDO && txn->type != TXN_WORKFLOW && txn->hit && !txn->parts[branch].undone_mark &&
        !sim_knows_abort(&txn->rec)) {
        txn->tainted = true;
    }
    if (sim_chance(world, world->faults.part_error)) {
        /* A compensation or confirm that is "refused" is no more than an error. */
        return op != OP_ACTION && sim_between(world, 0, 1) ? CALL_FAILURE : CALL_ERROR;
    }
    if (sim_chance(world, world->faults.part_ongoing)) {
        return CALL_ONGOING;
    }
    enum call_verdict verdict = do_op(world, txn, branch, op);
    sim_trace(world, "participant: %s %s: %s", txn->gid, op_text(txn, branch, op).text,
              call_verdict_name(verdict));
    check_done(world, txn, branch);
    return sim_chance(world, world->faults.part_half) ? CALL_ERROR : verdict;
}

/* ---- calls ---- */

static void call_unref(struct sim_call *call)
{
    if (--call->pending == 0) {
        free(call);
    }
}

static void call_complete(struct sim_call *call)
{
    struct world *world = call->world;
    LL_DELETE(world->calls, call);
    call->completed = true;
    if (!sim_node_listens(call->node, call->incarnation)) {
        return;
    }
    if (call->verdict == CALL_ERROR && call->op == OP_ACTION) {
        call->txn->errors++;
        if (world->broken == BREAK_I9_ERROR_REFUSES) {
            call->verdict = CALL_FAILURE;
        }
    }
    struct call_result result = {call->verdict, slice_str("said the participant"), 1500};
    sim_trace(world, "node %d: %s %s answered %s", call->node->index, call->txn->gid,
              op_text(call->txn, call->branch, call->op).text, call_verdict_name(call->verdict));
    if (!sim_node_may_crash(call->node)) {
        call->cb(call->arg, &result);
        sim_node_may_crash(call->node);
    }
    sim_node_after(call->node);
}

static void on_done(struct sim_event *event)
{
    struct sim_call *call = container_of(event, struct sim_call, done);
    bool listens = sim_node_listens(call->node, call->incarnation);
    if (listens && sim_node_defers(call->node, event)) {
        return;
    }
    call_complete(call);
    call_unref(call);
}

static void on_deliver(struct sim_event *event)
{
    struct sim_call *call = container_of(event, struct sim_call, deliver);
    struct world *world = call->world;
    enum call_verdict verdict = sim_participate(world, call->txn, call->branch, call->at);
    if (!call->completed && !call->reply_lost) {
        call->verdict = verdict;
        sim_at(world, &call->done, world->now_ms + sim_between(world, 0, 30), on_done);
    }
    call_unref(call);
}

static void on_twice(struct sim_event *event)
{
    struct sim_call *call = container_of(event, struct sim_call, twice);
    sim_participate(call->world, call->txn, call->branch, call->at);
    call_unref(call);
}

static void send(struct sim_call *call)
{
    struct world *world = call->world;
    const struct sim_faults *f = &world->faults;
    int64_t late_ms = sim_chance(world, f->call_late) ? sim_between(world, 1, 6000) : 0;
    int64_t at_ms = world->now_ms + sim_between(world, 0, 20) + late_ms;
    call->reply_lost = sim_chance(world, f->reply_lost);
    if (!sim_chance(world, f->call_lost)) {
        call->pending++;
        sim_at(world, &call->deliver, at_ms, on_deliver);
    }
    if (sim_chance(world, f->call_twice)) {
        call->pending++;
        sim_at(world, &call->twice, at_ms + sim_between(world, 0, 3000), on_twice);
    }
}

/* What the coordinator wants. */
static enum txn_op op_of(const struct sim_call *call, const struct branch_call *from)
{
    enum txn_op op = OP_ACTION;
    if (call->branch != SIM_CHECK) {
        enum err err = txn_op_parse(from->txn->type, slice_str(from->op), &op);
        check(err == ERR_OK);
    }
    return op;
}

/* What it gets at this address. */
static enum txn_op url_of(const struct sim_call *call, const struct branch_call *from)
{
    for (int k = 0; call->branch != SIM_CHECK && k < TXN_BRANCH_OPS; k++) {
        if (slice_eq_str(from->url, call->txn->urls[call->branch][k])) {
            return (enum txn_op)k;
        }
    }
    check(call->branch == SIM_CHECK && slice_eq_str(from->url, call->txn->check_url));
    return OP_ACTION;
}

static void caller_start(struct caller *caller, const struct branch_call *from, call_cb cb,
                         void *arg)
{
    struct sim_node *node = container_of(caller, struct sim_node, caller);
    struct world *world = node->world;
    if (sim_node_may_crash(node)) {
        return; /* before it was sent; the engine is gone before anybody misses it */
    }
    struct sim_call *call = mem_new(struct sim_call);
    call->world = world;
    call->node = node;
    call->incarnation = node->incarnation;
    call->txn = sim_txn_find(world, from->txn->gid);
    call->who = from->txn;
    call->branch = sim_branch_of(from->branch->id);
    call->op = op_of(call, from);
    call->at = url_of(call, from);
    call->cb = cb;
    call->arg = arg;
    call->verdict = CALL_ERROR;
    call->pending = 1;
    sim_trace(world, "node %d calls %s %s", node->index, call->txn->gid,
              op_text(call->txn, call->branch, call->op).text);
    check_call(world, call);
    LL_PREPEND(world->calls, call);
    sim_at(world, &call->done, world->now_ms + from->timeout_ms, on_done);
    send(call);
    sim_node_may_crash(node);
}

const struct caller_ops sim_caller_ops = {.start = caller_start};
