/* Clients: they submit, sometimes twice, and change their mind. */
#include "sim.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

enum ask_kind {
    ASK_SUBMIT,
    ASK_ABORT,
    ASK_FORCE_STOP,
    ASK_RETRY_NOW,
    ASK_UNPARK,
    ASK_RESOLVE,
    ASK_CHANGE
};
static const char *const ask_names[] = {"submit", "abort",   "force stop", "retry now",
                                        "unpark", "resolve", "change"};

enum { TRIES_MAX = 6, AGAIN_MS = 300, ROUND_MIN_MS = 500, ROUND_MAX_MS = 9000 };

static void on_ask(struct sim_event *event);

static void note_answer(struct sim_ask *ask, const struct engine_answer *answer)
{
    struct world *world = ask->world;
    struct sim_txn *txn = ask->txn;
    sim_trace(world, "client: %s %s: %s, %s", ask_names[ask->kind], txn->gid, err_text(answer->err),
              txn_status_name(answer->status));
    check_answer(world, txn, answer);
    if (answer->err == ERR_OK && ask->kind == ASK_SUBMIT) {
        txn->acked = true;
    }
}

static void on_answer(void *arg, const struct engine_answer *answer)
{
    struct sim_ask *ask = arg;
    struct world *world = ask->world;
    if (!ask->waiting) {
        sim_fail(world, "answers", "%s of %s was answered twice", ask_names[ask->kind],
                 ask->txn->gid);
        return;
    }
    ask->waiting = false;
    if (world->violated) {
        return;
    }
    note_answer(ask, answer);
    bool unclear =
        answer->err == ERR_UNAVAILABLE || answer->err == ERR_BUSY || answer->err == ERR_CANCELLED;
    if (unclear && ask->kind == ASK_SUBMIT && ask->tries < TRIES_MAX) {
        sim_at(world, &ask->event, world->now_ms + sim_between(world, 1, AGAIN_MS), on_ask);
    }
}

static struct engine_wait any_wait(struct world *world)
{
    static const enum engine_wait_mode modes[] = {ENGINE_WAIT_STORED, ENGINE_WAIT_SETTLE,
                                                  ENGINE_WAIT_END};
    struct engine_wait wait = {.mode = modes[sim_between(world, 0, 2)]};
    wait.wait_ms = wait.mode == ENGINE_WAIT_END ? sim_between(world, 0, 20000) : 0;
    return wait;
}

struct txn_spec sim_spec_of(const struct sim_txn *txn, struct txn_step *steps)
{
    for (size_t i = 0; i < txn->branch_count; i++) {
        steps[i] = (struct txn_step){
            .urls = {slice_str(txn->urls[i][OP_ACTION]), slice_str(txn->urls[i][OP_CONFIRM]),
                     slice_str(txn->urls[i][OP_UNDO])},
            .after = txn->parts[i].after,
            .after_count = txn->parts[i].after_count,
        };
    }
    return (struct txn_spec){
        .gid = slice_str(txn->gid),
        .trans_type = slice_str(txn_type_name(txn->type)),
        .options = txn->options,
        .steps = steps,
        .step_count = sim_client_calls(txn) ? 0 : txn->branch_count,
        .query_prepared = slice_str(txn->check_url),
        .workflow = slice_str(txn->type == TXN_WORKFLOW ? "flow" : ""),
    };
}

static void submit(struct sim_ask *ask, struct engine *engine)
{
    struct txn_step steps[SIM_BRANCHES_MAX];
    struct txn_spec spec = sim_spec_of(ask->txn, steps);
    engine_submit(engine, &spec, any_wait(ask->world), on_answer, ask);
}

static void resolve(struct sim_ask *ask, struct engine *engine)
{
    char id[SIM_ID_SIZE];
    const char *op = ask->branch == SIM_CHECK ? "msg" : txn_op_name(ask->txn->type, ask->op);
    struct engine_resolve what = {.branch_id = sim_branch_id(ask->branch, id),
                                  .op = slice_str(op),
                                  .reason = slice_str("done by hand")};
    engine_resolve(engine, slice_str(ask->txn->gid), &what, on_answer, ask);
}

static void ask_engine(struct sim_ask *ask, struct engine *engine)
{
    struct sim_txn *txn = ask->txn;
    struct slice gid = slice_str(txn->gid);
    switch ((enum ask_kind)ask->kind) {
    case ASK_SUBMIT: submit(ask, engine); break;
    case ASK_ABORT:
        txn->abort_asked = txn->abort_asked || txn->type != TXN_WORKFLOW; /* which refuses it */
        engine_abort(engine, gid, slice_str("changed my mind"), on_answer, ask);
        break;
    case ASK_FORCE_STOP:
        txn->force_asked = true;
        engine_force_stop(engine, gid, on_answer, ask);
        break;
    case ASK_RETRY_NOW: engine_retry_now(engine, gid, on_answer, ask); break;
    case ASK_UNPARK: engine_unpark(engine, gid, on_answer, ask); break;
    case ASK_RESOLVE: resolve(ask, engine); break;
    case ASK_CHANGE: unreachable("no coordinator is asked for a change");
    }
}

static void on_ask(struct sim_event *event)
{
    struct sim_ask *ask = container_of(event, struct sim_ask, event);
    struct world *world = ask->world;
    if (world->violated) {
        return;
    }
    if (ask->kind == ASK_CHANGE) {
        sim_outbox_change(world, ask->txn);
        return;
    }
    struct sim_node *node = &world->nodes[sim_between(world, 0, SIM_NODES - 1)];
    if (!node->engine) { /* connection refused */
        sim_at(world, event, world->now_ms + AGAIN_MS, on_ask);
        return;
    }
    if (sim_node_defers(node, event)) {
        return;
    }
    ask->tries++;
    ask->waiting = true;
    sim_trace(world, "client: %s %s at node %d", ask_names[ask->kind], ask->txn->gid, node->index);
    ask_engine(ask, node->engine);
    sim_node_after(node);
}

static struct sim_ask *ask_plan(struct world *world, struct sim_txn *txn, enum ask_kind kind,
                                int64_t at_ms)
{
    struct sim_ask *ask = mem_new(struct sim_ask);
    ask->world = world;
    ask->txn = txn;
    ask->kind = kind;
    LL_PREPEND(world->asks, ask);
    sim_at(world, &ask->event, at_ms, on_ask);
    return ask;
}

/* ---- the operator ---- */

/* Does the first parked op by hand; then it may be called resolved. */
static void do_and_resolve(struct world *world, struct sim_txn *txn)
{
    for (size_t i = 0; i < (SIM_BRANCHES_MAX + 1) * TXN_BRANCH_OPS; i++) {
        size_t branch = i / TXN_BRANCH_OPS;
        enum txn_op op = (enum txn_op)(i % TXN_BRANCH_OPS);
        if (txn->rec.parks[branch][op]) {
            if (sim_do_by_hand(world, txn, branch, op) == CALL_SUCCESS) {
                struct sim_ask *ask = ask_plan(world, txn, ASK_RESOLVE, world->now_ms);
                ask->branch = branch;
                ask->op = op;
            }
            return;
        }
    }
}

static void look_after(struct world *world, struct sim_txn *txn)
{
    switch (sim_between(world, world->faults_on ? 0 : 2, 4)) {
    case 0: break;
    case 1:
        if (txn->type == TXN_SAGA) {
            txn->abort_asked = true;
            ask_plan(world, txn, ASK_ABORT, world->now_ms);
        }
        break;
    case 2: do_and_resolve(world, txn); break;
    case 3: ask_plan(world, txn, ASK_RETRY_NOW, world->now_ms); break;
    default: ask_plan(world, txn, ASK_UNPARK, world->now_ms); break;
    }
}

static void on_round(struct sim_event *event)
{
    struct world *world = container_of(event, struct world, round);
    if (world->violated) {
        return;
    }
    for (size_t i = 0; i < world->txn_count; i++) {
        struct sim_txn *txn = &world->txns[i];
        if (txn->rec.parked && !(txn->conflict && !world->faults_on)) {
            look_after(world, txn);
        }
    }
    sim_at(world, event, world->now_ms + sim_between(world, ROUND_MIN_MS, ROUND_MAX_MS), on_round);
}

/* What a client of this transaction asks for first: to prepare it, its submit, or the change that
 * leaves it. */
static void first_plan(struct world *world, struct sim_txn *txn, int64_t at_ms)
{
    if (txn->initiator.plays) {
        sim_actor_start(&txn->initiator.actors[0], at_ms);
    } else if (!txn->from_outbox) {
        ask_plan(world, txn, ASK_SUBMIT, at_ms);
    } else if (!txn->change.saga) {
        ask_plan(world, txn, ASK_CHANGE, at_ms);
    }
}

/* Who has announced a change aborts its message only when it cannot be made: see sim_initiator.c.
 */
static bool may_be_aborted(const struct sim_txn *txn)
{
    return txn->type != TXN_MSG || !txn->initiator.plays;
}

void sim_clients_plan(struct world *world)
{
    sim_at(world, &world->round, ROUND_MAX_MS, on_round);
    for (size_t i = 0; i < world->txn_count; i++) {
        struct sim_txn *txn = &world->txns[i];
        int64_t begin_ms = sim_between(world, 1, 3000);
        int64_t soon_ms = sim_between(world, 0, 1) ? 200 : 15000;
        first_plan(world, txn, begin_ms);
        if (sim_between(world, 0, 3) == 0 && !txn->initiator.plays) {
            first_plan(world, txn, begin_ms + sim_between(world, 0, soon_ms));
        }
        if (sim_between(world, 0, 3) == 0 && may_be_aborted(txn)) {
            ask_plan(world, txn, ASK_ABORT, begin_ms + sim_between(world, 0, soon_ms));
        }
        if (sim_between(world, 0, 3) == 0) {
            ask_plan(world, txn, ASK_RETRY_NOW, begin_ms + sim_between(world, 0, soon_ms));
        }
        if (sim_between(world, 0, 19) == 0) {
            ask_plan(world, txn, ASK_FORCE_STOP, begin_ms + sim_between(world, 0, soon_ms));
        }
    }
}

bool sim_clients_are_done(const struct world *world)
{
    for (size_t i = 0; i < world->txn_count; i++) {
        if (!sim_initiator_is_done(&world->txns[i])) {
            return false;
        }
    }
    for (const struct sim_ask *ask = world->asks; ask; ask = ask->next) {
        if (ask->waiting || heap_has(&ask->event.node)) {
            return false;
        }
    }
    return world->trips == 0;
}

void sim_clients_free(struct world *world)
{
    struct sim_ask *ask, *next;
    for (size_t i = 0; i < world->txn_count; i++) {
        sim_initiator_cancel(&world->txns[i]);
    }
    LL_FOREACH_SAFE(world->asks, ask, next)
    {
        sim_cancel(world, &ask->event);
        free(ask);
    }
    world->asks = NULL;
}
