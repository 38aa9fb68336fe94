/* The invariants of what is prepared by its client: see sim_initiator.h. */
#include "sim.h"

/* I2, as clients see it. */
void check_told(struct world *world, const struct sim_txn *txn)
{
    const struct sim_initiator *in = &txn->initiator;
    enum txn_status status = txn->rec.status;
    if (txn->type == TXN_WORKFLOW && (status == TXN_SUBMITTED || status == TXN_ABORTING)) {
        sim_fail(world, "I2", "%s is a workflow, and %s", txn->gid, txn_status_name(status));
    }
    if (txn->hit || txn->force_asked || !txn->rec.exists) {
        return;
    }
    if (in->told_commit && sim_knows_abort(&txn->rec)) {
        sim_fail(world, "told", "%s is %s, its client was told of the commit", txn->gid,
                 txn_status_name(status));
    }
    if (in->told_abort && (status == TXN_SUBMITTED || status == TXN_SUCCEED)) {
        sim_fail(world, "told", "%s is %s, its client was told of the abort", txn->gid,
                 txn_status_name(status));
    }
}

/* A store that forgot the decision may let both happen. */
void check_half(struct world *world, const struct sim_txn *txn)
{
    bool confirmed = false, cancelled = false;
    if (txn->hit || (txn->type != TXN_TCC && txn->type != TXN_XA)) {
        return;
    }
    for (size_t i = 0; i < txn->branch_count; i++) {
        confirmed = confirmed || txn->parts[i].confirms > 0;
        cancelled = cancelled || txn->parts[i].undone_mark;
    }
    if (confirmed && cancelled) {
        sim_fail(world, "half", "%s: one branch is confirmed, another one cancelled", txn->gid);
    }
}

static bool is_confirmed_before(const struct sim_txn *txn, size_t first, size_t index)
{
    return txn->type == TXN_XA ? first < index : first > index;
}

static void check_confirm_order(struct world *world, const struct sim_call *call)
{
    const struct sim_txn *txn = call->txn;
    for (size_t i = 0; i < txn->branch_count; i++) {
        const struct sim_part *part = &txn->parts[i];
        if (is_confirmed_before(txn, i, call->branch) && part->has_confirm && part->confirms == 0) {
            sim_fail(world, "order", "%s: confirm %zu before %zu was confirmed", txn->gid,
                     call->branch + 1, i + 1);
        }
    }
}

static bool is_announced(const struct sim_txn *txn)
{
    return txn->type == TXN_MSG && txn->initiator.plays;
}

void check_prepared_call(struct world *world, const struct sim_call *call)
{
    const struct sim_txn *txn = call->txn;
    bool delivers = is_announced(txn) && call->branch != SIM_CHECK;
    if (delivers && txn->initiator.row != ROW_CHANGED) {
        sim_fail(world, "message", "%s is sent, its change was not made", txn->gid);
    }
    if (call->op == OP_CONFIRM && !txn->hit) {
        check_confirm_order(world, call);
    }
}

void check_delivered(struct world *world, const struct sim_txn *txn)
{
    for (size_t i = 0; is_announced(txn) && i < txn->branch_count; i++) {
        if (txn->parts[i].effects > 0 && txn->initiator.row != ROW_CHANGED) {
            sim_fail(world, "message", "%s was delivered, its change was not made", txn->gid);
        }
    }
}

/* At its end; for the summary. */
static void count(struct world *world, const struct sim_txn *txn)
{
    if (txn->initiator.plays && txn->rec.exists) {
        world->prepared++;
        world->committed +=
            (txn->type == TXN_TCC || txn->type == TXN_XA) && txn->rec.status == TXN_SUCCEED;
    }
}

/* Its store may have lost all of it, and an operator may have ended it. */
void check_prepared_end(struct world *world, const struct sim_txn *txn)
{
    bool ends_well = txn->rec.exists && txn->rec.status == TXN_SUCCEED;
    count(world, txn);
    check_told(world, txn);
    check_half(world, txn);
    if (is_announced(txn) && txn->initiator.row == ROW_CHANGED && !ends_well && !txn->lost &&
        !txn->force_asked) {
        sim_fail(world, "message", "%s: a change without its message", txn->gid);
    }
}

static bool is_registered(const struct sim_txn *txn, size_t branch)
{
    for (size_t i = 0; i < txn->rec.branch_count; i++) {
        if (txn->rec.branches[i] == branch) {
            return true;
        }
    }
    return false;
}

/* What was acknowledged has been done, in this sense. */
static void check_acknowledged(struct world *world, const struct sim_txn *txn, enum sim_move move,
                               bool fails, enum txn_status status)
{
    if (move == MOVE_SUBMIT && status == TXN_PREPARED) {
        sim_fail(world, "told", "%s: its submit was acknowledged, and it is prepared", txn->gid);
    }
    if (move == MOVE_FINISH && status != (fails ? TXN_FAILED : TXN_SUCCEED)) {
        sim_fail(world, "told", "%s: its end was acknowledged, and it is %s", txn->gid,
                 txn_status_name(status));
    }
}

void check_trip(struct world *world, struct sim_txn *txn, const struct sim_asked *asked,
                const struct engine_answer *answer)
{
    enum sim_move move = asked->move;
    size_t branch = asked->branch;
    struct sim_initiator *in = &txn->initiator;
    enum txn_status status = answer->status;
    check_answer(world, txn, answer);
    if (answer->err != ERR_OK) {
        return;
    }
    txn->acked = true;
    bool registers = move == MOVE_REGISTER || move == MOVE_REPORT;
    if (registers && !txn->hit && !is_registered(txn, branch)) {
        sim_fail(world, "I1", "%s: branch %zu was registered, the store does not have it", txn->gid,
                 branch + 1);
    }
    check_acknowledged(world, txn, move, asked->fails, status);
    bool commits = status == TXN_SUBMITTED || status == TXN_SUCCEED;
    bool aborts = status == TXN_ABORTING || status == TXN_FAILED;
    bool decides = move == MOVE_SUBMIT || move == MOVE_ABORT || move == MOVE_FINISH;
    in->told_commit = in->told_commit || (decides && commits);
    in->told_abort = in->told_abort || (decides && aborts);
    check_told(world, txn);
}
