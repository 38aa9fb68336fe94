/* A coordinator: an engine, its recovery, and how it dies and comes back. */
#include "sim.h"

#include <inttypes.h>

enum {
    RECOVER_EVERY_MS = 400,
    RESTART_MAX_MS = 4000,
    PAUSE_MAX_MS = 12000,
    ABANDON_PER_THOUSAND = 300
};

static int64_t node_now_ms(void *arg)
{
    const struct sim_node *node = arg;
    return node->world->now_ms + node->clock_offset_ms;
}

/* ---- timers of the engine ---- */

static void on_tick(struct sim_event *event);

static void tick_plan(struct sim_node *node)
{
    struct world *world = node->world;
    int64_t next_ms = engine_next_ms(node->engine);
    if (next_ms == INT64_MAX) {
        sim_cancel(world, &node->tick);
        return;
    }
    int64_t at_ms = next_ms - node->clock_offset_ms;
    sim_at(world, &node->tick, at_ms > world->now_ms ? at_ms : world->now_ms, on_tick);
}

static void on_tick(struct sim_event *event)
{
    struct sim_node *node = container_of(event, struct sim_node, tick);
    if (!sim_node_defers(node, event)) {
        engine_tick(node->engine);
        sim_node_after(node);
    }
}

/* ---- recovery, as coordinator/recovery does it ---- */

static void on_taken(void *arg, const struct store_result *result)
{
    struct sim_node *node = arg;
    if (result->status == STORE_OK) {
        int64_t under_way_ms = sim_store_now(node->world) - result->now_ms;
        engine_adopt(node->engine, result->txn, node_now_ms(node) - under_way_ms);
    } else {
        txn_free(result->txn);
    }
}

static void on_overdue(void *arg, const struct store_overdue *overdue)
{
    struct sim_node *node = arg;
    for (size_t i = 0; i < overdue->count; i++) {
        struct store_due due = {.in_ms = SIM_LEASE_MS};
        if (!engine_is_live(node->engine, overdue->gids[i]) && engine_has_room(node->engine)) {
            node->store.ops->take(&node->store, overdue->gids[i], (struct store_take){0}, due,
                                  on_taken, node);
        }
    }
}

static void on_drained(void *arg)
{
    struct sim_node *node = arg;
    if (engine_live_count(node->engine) != 0) {
        sim_fail(node->world, "drain", "node %d is drained and has live ones", node->index);
    }
    sim_trace(node->world, "node %d is drained", node->index);
    node->dying = true;
}

static void on_recover(struct sim_event *event)
{
    struct sim_node *node = container_of(event, struct sim_node, recover);
    struct world *world = node->world;
    if (sim_node_defers(node, event)) {
        return;
    }
    if (sim_chance(world, world->faults.pause)) {
        node->paused_until_ms = world->now_ms + sim_between(world, 1, PAUSE_MAX_MS);
        sim_trace(world, "node %d pauses until %" PRId64, node->index, node->paused_until_ms);
    }
    if (!node->draining && sim_chance(world, world->faults.drain)) {
        sim_trace(world, "node %d drains", node->index);
        node->draining = true;
        engine_drain(node->engine, on_drained, node);
    }
    if (node->draining && sim_chance(world, ABANDON_PER_THOUSAND)) {
        sim_trace(world, "node %d abandons", node->index);
        engine_abandon(node->engine);
    }
    node->store.ops->overdue(&node->store, 0, 16, on_overdue, node);
    sim_at(world, event, world->now_ms + RECOVER_EVERY_MS + sim_between(world, 0, 50), on_recover);
    sim_node_after(node);
}

/* ---- life and death ---- */

static struct engine *engine_make(struct sim_node *node)
{
    struct world *world = node->world;
    struct engine_conf conf = {
        .retry_interval_ms = 1000,
        .retry_interval_max_ms = SIM_RETRY_MAX_MS,
        .park_after = world->park_after,
        .request_timeout_ms = 1000,
        .lease_ms = SIM_LEASE_MS,
        .lazy_ms = SIM_LAZY_MS,
        .live_max = world->live_max,
    };
    struct engine_env env = {
        .store = &node->store,
        .caller = &node->caller,
        .now_ms = node_now_ms,
        .now_arg = node,
        .seed = rng_next(&world->rng),
    };
    return engine_new(&conf, &env);
}

void sim_node_start(struct sim_node *node)
{
    struct world *world = node->world;
    node->store.ops = &sim_store_ops;
    node->caller.ops = &sim_caller_ops;
    node->incarnation = ++world->incarnations;
    node->clock_offset_ms = sim_between(world, 0, 5000000);
    node->dying = node->draining = false;
    node->paused_until_ms = 0;
    node->engine = engine_make(node);
    sim_trace(world, "node %d starts as owner %d", node->index, node->incarnation);
    sim_at(world, &node->recover, world->now_ms + sim_between(world, 1, RECOVER_EVERY_MS),
           on_recover);
    sim_at(world, &node->consume, world->now_ms + sim_between(world, 1, RECOVER_EVERY_MS),
           sim_outbox_on_consume);
}

void sim_node_stop(struct sim_node *node)
{
    struct engine *engine = node->engine;
    sim_cancel(node->world, &node->tick);
    sim_cancel(node->world, &node->recover);
    sim_cancel(node->world, &node->consume);
    node->engine = NULL;
    node->incarnation = -1;
    engine_free(engine);
}

static void on_restart(struct sim_event *event)
{
    sim_node_start(container_of(event, struct sim_node, restart));
}

bool sim_node_may_crash(struct sim_node *node)
{
    struct world *world = node->world;
    if (!node->dying && sim_chance(world, world->faults.crash)) {
        sim_trace(world, "node %d crashes", node->index);
        node->dying = true;
        world->crashes++;
    }
    return node->dying;
}

bool sim_node_listens(const struct sim_node *node, int incarnation)
{
    return node->engine && node->incarnation == incarnation;
}

bool sim_node_defers(struct sim_node *node, struct sim_event *event)
{
    if (node->paused_until_ms <= node->world->now_ms) {
        return false;
    }
    sim_at(node->world, event, node->paused_until_ms, event->fn);
    return true;
}

void sim_node_after(struct sim_node *node)
{
    struct world *world = node->world;
    if (node->dying) {
        sim_node_stop(node);
        node->dying = false;
        sim_at(world, &node->restart, world->now_ms + sim_between(world, 0, RESTART_MAX_MS),
               on_restart);
    } else if (node->engine) {
        tick_plan(node);
    }
}
