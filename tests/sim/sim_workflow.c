/*
 * The client of a workflow: it reads what was reported, does the next step, reports it, and so on;
 * after a step that failed it undoes this one and those before. The report decides: of two clients
 * at work on one workflow the second to report reads again what the first one said.
 */
#include "sim.h"

/* The first step that failed, or was not done yet; branch_count: all are done. */
static size_t first_open(const struct sim_actor *actor)
{
    size_t i = 0;
    while (i < actor->txn->branch_count && actor->reports[i] == OP_SUCCEED) {
        i++;
    }
    return i;
}

static enum sim_move next_move(struct sim_actor *actor)
{
    size_t i = actor->branch = first_open(actor);
    bool all = i == actor->txn->branch_count;
    actor->fails = !all && actor->reports[i] == OP_FAILED;
    return all ? MOVE_FINISH : actor->fails ? MOVE_UNDO : MOVE_STEP;
}

enum sim_move sim_workflow_after(struct sim_actor *actor, bool yes)
{
    switch (actor->move) {
    case MOVE_PREPARE: return yes ? next_move(actor) : MOVE_STOP;
    case MOVE_STEP: actor->fails = !yes; return MOVE_REPORT;
    case MOVE_REPORT:
        actor->reports[actor->branch] = actor->fails ? OP_FAILED : OP_SUCCEED;
        return yes ? next_move(actor) : MOVE_PREPARE;
    case MOVE_UNDO: return actor->branch-- > 0 ? MOVE_UNDO : MOVE_FINISH;
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
enum sim_move sim_workflow_tired(struct sim_actor *actor)
{
    bool fails = actor->move == MOVE_STEP && sim_between(actor->txn->initiator.world, 0, 1);
    actor->fails = actor->fails || fails;
    return fails ? MOVE_REPORT : MOVE_STOP;
}

/* The answer decides nothing. */
enum call_verdict sim_workflow_resume(struct world *world, struct sim_txn *txn)
{
    static const enum call_verdict verdicts[] = {CALL_SUCCESS, CALL_FAILURE, CALL_ONGOING,
                                                 CALL_ERROR};
    struct sim_actor *actors = txn->initiator.actors;
    bool one = actors[0].move == MOVE_STOP, other = actors[1].move == MOVE_STOP;
    if ((one || other) && world->broken != BREAK_RESUME_DEAF) {
        sim_actor_start(&actors[one ? 0 : 1], world->now_ms);
    }
    return verdicts[sim_between(world, 0, 3)];
}
