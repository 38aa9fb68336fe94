/* What an initiator asks for on its way: to a coordinator, a participant or its own database. */
#include "sim.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { NEAR_MS = 20, LATE_MS = 6000, TWICE_MS = 3000 };
_Static_assert((int)SIM_STEPS_MAX == (int)SIM_BRANCHES_MAX, "a report for each branch");

struct trip {
    struct world *world;
    struct sim_txn *txn;
    struct sim_actor *actor;
    struct sim_asked asked;
    int64_t number;
    struct sim_event event;
    bool waiting; /* the engine has it */
    enum sim_heard heard;
    enum op_status reports[SIM_STEPS_MAX]; /* MOVE_PREPARE of a workflow: as of its answer */
};

/* ---- back ---- */

/* As the API answers the begin of a workflow. */
static void read_reports(struct trip *trip)
{
    for (size_t i = 0; i < trip->txn->branch_count; i++) {
        trip->reports[i] = trip->txn->rec.ops[i][OP_ACTION];
    }
}

static void on_back(struct sim_event *event)
{
    struct trip *trip = container_of(event, struct trip, event);
    struct sim_actor *actor = trip->actor;
    if (!trip->world->violated && actor->waits && actor->number == trip->number) {
        if (trip->asked.move == MOVE_PREPARE) {
            memcpy(actor->reports, trip->reports, sizeof(actor->reports));
        }
        sim_actor_hears(actor, trip->heard);
    }
    free(trip);
}

static void on_lost(struct sim_event *event)
{
    free(container_of(event, struct trip, event));
}

static void trip_back(struct trip *trip, enum sim_heard heard)
{
    struct world *world = trip->world;
    const struct sim_faults *f = &world->faults;
    int64_t late_ms = sim_chance(world, f->call_late) ? sim_between(world, 1, LATE_MS) : 0;
    bool lost = sim_chance(world, f->reply_lost);
    trip->heard = heard;
    sim_at(world, &trip->event, world->now_ms + sim_between(world, 0, NEAR_MS) + late_ms,
           lost ? on_lost : on_back);
}

/* ---- at a coordinator ---- */

static enum sim_heard heard_of(const struct engine_answer *answer)
{
    bool unclear =
        answer->err == ERR_UNAVAILABLE || answer->err == ERR_BUSY || answer->err == ERR_CANCELLED;
    return unclear ? HEARD_NOTHING : answer->err == ERR_OK ? HEARD_YES : HEARD_NO;
}

static void on_answer(void *arg, const struct engine_answer *answer)
{
    struct trip *trip = arg;
    struct world *world = trip->world;
    if (!trip->waiting) {
        sim_fail(world, "answers", "%s of %s was answered twice", sim_move_names[trip->asked.move],
                 trip->txn->gid);
        return;
    }
    trip->waiting = false;
    world->trips--;
    read_reports(trip);
    if (!world->violated) {
        sim_trace(world, "initiator: %s %s: %s, %s", sim_move_names[trip->asked.move],
                  trip->txn->gid, err_text(answer->err), txn_status_name(answer->status));
        check_trip(world, trip->txn, &trip->asked, answer);
    }
    trip_back(trip, heard_of(answer));
}

static void prepare_or_submit(struct trip *trip, struct engine *engine)
{
    struct txn_step steps[SIM_BRANCHES_MAX];
    struct txn_spec spec = sim_spec_of(trip->txn, steps);
    spec.prepare = trip->asked.move == MOVE_PREPARE;
    if (spec.prepare) {
        engine_prepare(engine, &spec, on_answer, trip);
    } else {
        struct engine_wait wait = {.mode = ENGINE_WAIT_STORED};
        engine_submit(engine, &spec, wait, on_answer, trip);
    }
}

static void register_branch(struct trip *trip, struct engine *engine)
{
    char id[SIM_ID_SIZE];
    const struct sim_txn *txn = trip->txn;
    struct store_branch branch = {.type = txn->type, .id = sim_branch_id(trip->asked.branch, id)};
    for (int k = 0; k < TXN_BRANCH_OPS; k++) {
        branch.urls[k] = slice_str(txn->urls[trip->asked.branch][k]);
    }
    engine_register(engine, slice_str(txn->gid), &branch, on_answer, trip);
}

static void report(struct trip *trip, struct engine *engine)
{
    char id[SIM_ID_SIZE];
    struct store_branch branch = {.type = TXN_WORKFLOW,
                                  .id = sim_branch_id(trip->asked.branch, id),
                                  .op = slice_str("action"),
                                  .status = trip->asked.fails ? OP_FAILED : OP_SUCCEED};
    engine_register(engine, slice_str(trip->txn->gid), &branch, on_answer, trip);
}

static void finish(struct trip *trip, struct engine *engine)
{
    struct engine_finish how = {.status = trip->asked.fails ? TXN_FAILED : TXN_SUCCEED};
    trip->txn->abort_asked = trip->txn->abort_asked || trip->asked.fails;
    engine_finish(engine, slice_str(trip->txn->gid), &how, on_answer, trip);
}

static void ask(struct trip *trip, struct engine *engine)
{
    struct sim_txn *txn = trip->txn;
    switch (trip->asked.move) {
    case MOVE_PREPARE:
    case MOVE_SUBMIT: prepare_or_submit(trip, engine); return;
    case MOVE_REGISTER: register_branch(trip, engine); return;
    case MOVE_REPORT: report(trip, engine); return;
    case MOVE_FINISH: finish(trip, engine); return;
    case MOVE_ABORT:
        txn->abort_asked = true;
        engine_abort(engine, slice_str(txn->gid), slice_str("said the initiator"), on_answer, trip);
        return;
    case MOVE_TRY:
    case MOVE_CHANGE:
    case MOVE_STEP:
    case MOVE_UNDO:
    case MOVE_STOP: break;
    }
    unreachable("nothing for a coordinator");
}

static void at_coordinator(struct trip *trip)
{
    struct world *world = trip->world;
    struct sim_node *node = &world->nodes[sim_between(world, 0, SIM_NODES - 1)];
    if (!node->engine) { /* connection refused */
        trip_back(trip, HEARD_NOTHING);
    } else if (!sim_node_defers(node, &trip->event)) {
        sim_trace(world, "initiator: %s %s at node %d", sim_move_names[trip->asked.move],
                  trip->txn->gid, node->index);
        trip->waiting = true;
        world->trips++;
        ask(trip, node->engine);
        sim_node_after(node);
    }
}

/* ---- there ---- */

static enum sim_heard call_try(struct trip *trip)
{
    enum call_verdict verdict =
        sim_participate(trip->world, trip->txn, trip->asked.branch, OP_ACTION);
    return verdict == CALL_SUCCESS ? HEARD_YES : verdict == CALL_FAILURE ? HEARD_NO : HEARD_NOTHING;
}

/* Done, or asked for again. */
static enum sim_heard call_undo(struct trip *trip)
{
    enum call_verdict verdict =
        sim_participate(trip->world, trip->txn, trip->asked.branch, OP_UNDO);
    return verdict == CALL_SUCCESS ? HEARD_YES : HEARD_NOTHING;
}

static void on_arrive(struct sim_event *event)
{
    struct trip *trip = container_of(event, struct trip, event);
    if (trip->world->violated) {
        free(trip);
    } else if (trip->asked.move == MOVE_TRY || trip->asked.move == MOVE_STEP) {
        trip_back(trip, call_try(trip));
    } else if (trip->asked.move == MOVE_UNDO) {
        trip_back(trip, call_undo(trip));
    } else if (trip->asked.move == MOVE_CHANGE) {
        trip_back(trip, sim_initiator_change(trip->world, trip->txn));
    } else {
        at_coordinator(trip);
    }
}

static void trip_start(struct world *world, struct sim_actor *actor, int64_t at_ms)
{
    struct trip *trip = mem_new(struct trip);
    *trip = (struct trip){.world = world,
                          .txn = actor->txn,
                          .actor = actor,
                          .asked = {actor->move, actor->branch, actor->fails},
                          .number = actor->number};
    sim_at(world, &trip->event, at_ms, on_arrive);
}

void sim_trip_send(struct world *world, struct sim_actor *actor)
{
    const struct sim_faults *f = &world->faults;
    int64_t late_ms = sim_chance(world, f->call_late) ? sim_between(world, 1, LATE_MS) : 0;
    int64_t at_ms = world->now_ms + sim_between(world, 0, NEAR_MS) + late_ms;
    if (!sim_chance(world, f->call_lost)) {
        trip_start(world, actor, at_ms);
    }
    if (sim_chance(world, f->call_twice)) {
        trip_start(world, actor, at_ms + sim_between(world, 0, TWICE_MS));
    }
}
