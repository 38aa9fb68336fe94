/*
 * The client of a workflow: it reads what was reported, does the next step, reports it, and so on;
 * after a step that failed it undoes this one and those before. The report decides: of two clients
 * at work on one workflow the second to report reads again what the first one said.
 */
#include "sim.h"

/* The first step that failed, or was not done yet; branch_count: all are done. */
static size_t first_open(const struct sim_txn *txn)
{
    size_t i = 0;
    while (i < txn->branch_count && txn->initiator.reports[i] == OP_SUCCEED) {
        i++;
    }
    return i;
}

static enum sim_move next_move(struct sim_txn *txn)
{
    struct sim_initiator *in = &txn->initiator;
    in->branch = first_open(txn);
    in->fails = in->branch < txn->branch_count && in->reports[in->branch] == OP_FAILED;
    return in->branch == txn->branch_count ? MOVE_FINISH : in->fails ? MOVE_UNDO : MOVE_STEP;
}

static enum sim_move undone(struct sim_initiator *in)
{
    return in->branch-- > 0 ? MOVE_UNDO : MOVE_FINISH;
}

enum sim_move sim_workflow_after(struct sim_txn *txn, bool yes)
{
    struct sim_initiator *in = &txn->initiator;
    switch (in->move) {
    case MOVE_PREPARE: return yes ? next_move(txn) : MOVE_STOP;
    case MOVE_STEP: in->fails = !yes; return MOVE_REPORT;
    case MOVE_REPORT:
        in->reports[in->branch] = in->fails ? OP_FAILED : OP_SUCCEED;
        return yes ? next_move(txn) : MOVE_PREPARE;
    case MOVE_UNDO: return undone(in);
    case MOVE_FINISH: return MOVE_STOP;
    case MOVE_REGISTER:
    case MOVE_TRY:
    case MOVE_CHANGE:
    case MOVE_SUBMIT:
    case MOVE_ABORT:
    case MOVE_STOP: break;
    }
    unreachable("no move of a workflow");
}

/* Nobody answers: a step may count as failed, the rest waits for the resume. */
enum sim_move sim_workflow_tired(struct sim_txn *txn)
{
    struct sim_initiator *in = &txn->initiator;
    bool fails = in->move == MOVE_STEP && sim_between(in->world, 0, 1);
    in->fails = in->fails || fails;
    return fails ? MOVE_REPORT : MOVE_STOP;
}

/* The client that was at work is not heard of again, but for its last word: that its step failed,
 * as far as it knows. */
static void last_word(struct world *world, struct sim_txn *txn)
{
    struct sim_initiator *in = &txn->initiator;
    if (in->move == MOVE_STEP) {
        in->move = MOVE_REPORT;
        in->fails = true;
        sim_trip_send(world, txn);
    }
}

/* A client begins anew, now and then while one is at work. The answer decides nothing. */
enum call_verdict sim_workflow_resume(struct world *world, struct sim_txn *txn)
{
    static const enum call_verdict verdicts[] = {CALL_SUCCESS, CALL_FAILURE, CALL_ONGOING,
                                                 CALL_ERROR};
    bool idle = txn->initiator.move == MOVE_STOP;
    if (world->broken != BREAK_RESUME_DEAF && (idle || sim_between(world, 0, 1))) {
        last_word(world, txn);
        sim_initiator_start(txn, world->now_ms);
    }
    return verdicts[sim_between(world, 0, 3)];
}
