/* What an initiator does, move by move. */
#include "sim.h"

enum { TRIES_MAX = 4, PATIENCE_MS = 1500, AGAIN_MS = 200 };

const char *const sim_move_names[] = {
    [MOVE_PREPARE] = "prepare", [MOVE_REGISTER] = "register", [MOVE_TRY] = "try",
    [MOVE_CHANGE] = "change",   [MOVE_SUBMIT] = "submit",     [MOVE_ABORT] = "abort",
    [MOVE_STEP] = "step",       [MOVE_REPORT] = "report",     [MOVE_UNDO] = "undo",
    [MOVE_FINISH] = "finish",   [MOVE_STOP] = "stop",
};

bool sim_client_calls(const struct sim_txn *txn)
{
    return txn->initiator.plays && txn->type != TXN_MSG;
}

bool sim_is_refusable(const struct sim_txn *txn)
{
    return txn->type == TXN_SAGA || txn->options.declared;
}

/* ---- its own database ---- */

enum sim_heard sim_initiator_change(struct world *world, struct sim_txn *txn)
{
    struct sim_initiator *in = &txn->initiator;
    if (in->row == ROW_NONE && !in->refuses) {
        in->row = ROW_CHANGED;
        sim_trace(world, "initiator: the change of %s is made", txn->gid);
    }
    return in->row == ROW_CHANGED ? HEARD_YES : HEARD_NO;
}

bool sim_initiator_check(struct world *world, struct sim_txn *txn)
{
    struct sim_initiator *in = &txn->initiator;
    if (in->row == ROW_NONE && world->broken != BREAK_CHECK_UNBARRED) {
        in->row = ROW_BARRED;
    }
    return in->row == ROW_CHANGED || world->broken == BREAK_CHECK_BLIND;
}

/* ---- moves ---- */

static void on_move(struct sim_event *event);

static void move_begin(struct sim_actor *actor, enum sim_move move, int64_t in_ms)
{
    struct world *world = actor->txn->initiator.world;
    actor->move = move;
    actor->number++;
    actor->tries = 0;
    actor->waits = false;
    sim_at(world, &actor->event, world->now_ms + in_ms, on_move);
}

static void stop(struct sim_actor *actor, const char *why)
{
    struct world *world = actor->txn->initiator.world;
    sim_trace(world, "initiator: %s: %s", actor->txn->gid, why);
    sim_cancel(world, &actor->event);
    actor->move = MOVE_STOP;
    actor->waits = false;
}

/* What it does when nobody tells it how its move came out. Who does not know whether its change was
 * made leaves it to the check-back. */
static void lose_patience(struct sim_actor *actor)
{
    bool undoes = actor->move == MOVE_REGISTER || actor->move == MOVE_TRY;
    enum sim_move next = actor->txn->type == TXN_WORKFLOW ? sim_workflow_tired(actor)
                         : undoes                         ? MOVE_ABORT
                                                          : MOVE_STOP;
    if (next != MOVE_STOP) {
        move_begin(actor, next, 0);
    } else {
        stop(actor, "gives up");
    }
}

static bool vanishes(const struct sim_actor *actor)
{
    const struct sim_initiator *in = &actor->txn->initiator;
    return in->world->faults_on && actor->tries == 0 &&
           sim_between(in->world, 0, 99) < in->vanish_percent;
}

/* It has thought, or waited in vain: sends its move (again). */
static void on_move(struct sim_event *event)
{
    struct sim_actor *actor = container_of(event, struct sim_actor, event);
    struct world *world = actor->txn->initiator.world;
    if (world->violated) {
        return;
    }
    if (vanishes(actor)) {
        world->vanished++;
        stop(actor, "vanishes");
    } else if (actor->tries == TRIES_MAX) {
        lose_patience(actor);
    } else {
        actor->tries++;
        actor->waits = true;
        sim_at(world, event, world->now_ms + PATIENCE_MS, on_move);
        sim_trip_send(world, actor);
    }
}

static enum sim_move decide(const struct sim_initiator *in)
{
    bool aborts = sim_between(in->world, 0, 99) < in->abort_percent;
    return aborts ? MOVE_ABORT : MOVE_SUBMIT;
}

static enum sim_move move_after(struct sim_actor *actor)
{
    const struct sim_txn *txn = actor->txn;
    switch (actor->move) {
    case MOVE_PREPARE: return txn->type == TXN_MSG ? MOVE_CHANGE : MOVE_REGISTER;
    case MOVE_REGISTER: return MOVE_TRY;
    case MOVE_TRY:
        actor->branch++;
        return actor->branch < txn->branch_count ? MOVE_REGISTER : decide(&txn->initiator);
    case MOVE_CHANGE: return MOVE_SUBMIT;
    case MOVE_SUBMIT:
    case MOVE_ABORT:
    case MOVE_STOP: return MOVE_STOP;
    case MOVE_STEP:
    case MOVE_REPORT:
    case MOVE_UNDO:
    case MOVE_FINISH: break;
    }
    unreachable("moves of a workflow");
}

static enum sim_move move_refused(enum sim_move move)
{
    bool undoes = move == MOVE_REGISTER || move == MOVE_TRY || move == MOVE_CHANGE;
    return undoes ? MOVE_ABORT : MOVE_STOP;
}

void sim_actor_hears(struct sim_actor *actor, enum sim_heard heard)
{
    const struct sim_initiator *in = &actor->txn->initiator;
    struct world *world = in->world;
    bool yes = heard == HEARD_YES;
    if (heard == HEARD_NOTHING) { /* at once, not when its patience is over */
        sim_at(world, &actor->event, world->now_ms + sim_between(world, 1, AGAIN_MS), on_move);
        return;
    }
    enum sim_move next = actor->txn->type == TXN_WORKFLOW ? sim_workflow_after(actor, yes)
                         : yes                            ? move_after(actor)
                                                          : move_refused(actor->move);
    if (next == MOVE_STOP) {
        stop(actor, "has its answer");
    } else {
        move_begin(actor, next, sim_between(world, 0, in->think_ms));
    }
}

/* ---- beginning and end ---- */

void sim_initiator_plan(struct world *world, struct sim_txn *txn)
{
    struct sim_initiator *in = &txn->initiator;
    in->world = world;
    in->plays = true;
    for (int i = 0; i < SIM_ACTORS; i++) {
        in->actors[i].txn = txn;
        in->actors[i].move = MOVE_STOP;
    }
    in->vanish_percent = sim_between(world, 0, 2) == 0 ? 20 : 0;
    in->abort_percent = sim_between(world, 0, 2) == 0 ? 30 : 0;
    in->think_ms = sim_between(world, 0, 2) == 0 ? 3000 : 20;
    in->refuses = sim_between(world, 0, 3) == 0;
}

void sim_actor_start(struct sim_actor *actor, int64_t at_ms)
{
    move_begin(actor, MOVE_PREPARE, at_ms - actor->txn->initiator.world->now_ms);
}

bool sim_initiator_is_done(const struct sim_txn *txn)
{
    const struct sim_initiator *in = &txn->initiator;
    for (int i = 0; in->plays && i < SIM_ACTORS; i++) {
        if (in->actors[i].move != MOVE_STOP) {
            return false;
        }
    }
    return true;
}

void sim_initiator_cancel(struct sim_txn *txn)
{
    for (int i = 0; txn->initiator.plays && i < SIM_ACTORS; i++) {
        sim_cancel(txn->initiator.world, &txn->initiator.actors[i].event);
    }
}
