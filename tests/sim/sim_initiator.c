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

static void move_begin(struct sim_txn *txn, enum sim_move move, int64_t in_ms)
{
    struct sim_initiator *in = &txn->initiator;
    in->move = move;
    in->number++;
    in->tries = 0;
    in->waits = false;
    sim_at(in->world, &txn->moving, in->world->now_ms + in_ms, on_move);
}

static void stop(struct sim_txn *txn, const char *why)
{
    struct sim_initiator *in = &txn->initiator;
    sim_trace(in->world, "initiator: %s: %s", txn->gid, why);
    sim_cancel(in->world, &txn->moving);
    in->move = MOVE_STOP;
    in->waits = false;
}

/* What it does when nobody tells it how its move came out. Who does not know whether its change was
 * made leaves it to the check-back. */
static void lose_patience(struct sim_txn *txn)
{
    enum sim_move move = txn->initiator.move;
    enum sim_move next = txn->type == TXN_WORKFLOW                   ? sim_workflow_tired(txn)
                         : move == MOVE_REGISTER || move == MOVE_TRY ? MOVE_ABORT
                                                                     : MOVE_STOP;
    if (next != MOVE_STOP) {
        move_begin(txn, next, 0);
    } else {
        stop(txn, "gives up");
    }
}

static bool vanishes(struct sim_initiator *in)
{
    return in->world->faults_on &&
           sim_between(in->world, 0, 99) < (in->tries == 0 ? in->vanish_percent : 0);
}

/* It has thought, or waited in vain: sends its move (again). */
static void on_move(struct sim_event *event)
{
    struct sim_txn *txn = container_of(event, struct sim_txn, moving);
    struct sim_initiator *in = &txn->initiator;
    struct world *world = in->world;
    if (world->violated) {
        return;
    }
    if (vanishes(in)) {
        world->vanished++;
        stop(txn, "vanishes");
    } else if (in->tries == TRIES_MAX) {
        lose_patience(txn);
    } else {
        in->tries++;
        in->waits = true;
        sim_at(world, event, world->now_ms + PATIENCE_MS, on_move);
        sim_trip_send(world, txn);
    }
}

static enum sim_move decide(struct sim_initiator *in)
{
    bool aborts = sim_between(in->world, 0, 99) < in->abort_percent;
    return aborts ? MOVE_ABORT : MOVE_SUBMIT;
}

static enum sim_move move_after(struct sim_txn *txn)
{
    struct sim_initiator *in = &txn->initiator;
    switch (in->move) {
    case MOVE_PREPARE: return txn->type == TXN_MSG ? MOVE_CHANGE : MOVE_REGISTER;
    case MOVE_REGISTER: return MOVE_TRY;
    case MOVE_TRY: return ++in->branch < txn->branch_count ? MOVE_REGISTER : decide(in);
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

static enum sim_move move_refused(const struct sim_initiator *in)
{
    bool undoes = in->move == MOVE_REGISTER || in->move == MOVE_TRY || in->move == MOVE_CHANGE;
    return undoes ? MOVE_ABORT : MOVE_STOP;
}

void sim_initiator_hears(struct sim_txn *txn, enum sim_heard heard)
{
    struct sim_initiator *in = &txn->initiator;
    struct world *world = in->world;
    if (heard == HEARD_NOTHING) { /* at once, not when its patience is over */
        sim_at(world, &txn->moving, world->now_ms + sim_between(world, 1, AGAIN_MS), on_move);
        return;
    }
    bool yes = heard == HEARD_YES;
    enum sim_move next = txn->type == TXN_WORKFLOW ? sim_workflow_after(txn, yes)
                         : yes                     ? move_after(txn)
                                                   : move_refused(in);
    if (next == MOVE_STOP) {
        stop(txn, "has its answer");
    } else {
        move_begin(txn, next, sim_between(world, 0, in->think_ms));
    }
}

/* ---- beginning ---- */

void sim_initiator_plan(struct world *world, struct sim_txn *txn)
{
    struct sim_initiator *in = &txn->initiator;
    in->world = world;
    in->plays = true;
    in->move = MOVE_STOP;
    in->vanish_percent = sim_between(world, 0, 2) == 0 ? 20 : 0;
    in->abort_percent = sim_between(world, 0, 2) == 0 ? 30 : 0;
    in->think_ms = sim_between(world, 0, 2) == 0 ? 3000 : 20;
    in->refuses = sim_between(world, 0, 3) == 0;
}

void sim_initiator_start(struct sim_txn *txn, int64_t at_ms)
{
    move_begin(txn, MOVE_PREPARE, at_ms - txn->initiator.world->now_ms);
}
