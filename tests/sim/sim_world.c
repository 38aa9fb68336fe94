#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER_BITS = 24 };

/* ---- time ---- */

void sim_at(struct world *world, struct sim_event *event, int64_t at_ms,
            void (*fn)(struct sim_event *event))
{
    event->fn = fn;
    check(at_ms >= world->now_ms && world->order < (UINT64_C(1) << ORDER_BITS));
    heap_set(&world->events, &event->node,
             (int64_t)(((uint64_t)at_ms << ORDER_BITS) | world->order++));
}

void sim_cancel(struct world *world, struct sim_event *event)
{
    heap_remove(&world->events, &event->node);
}

static bool play_next(struct world *world)
{
    struct heap_node *first = heap_first(&world->events);
    if (!first || world->violated || (first->at >> ORDER_BITS) > SIM_END_MS) {
        return false;
    }
    struct sim_event *event = container_of(first, struct sim_event, node);
    world->now_ms = first->at >> ORDER_BITS;
    heap_remove(&world->events, first);
    event->fn(event);
    return true;
}

/* ---- chance ---- */

bool sim_chance(struct world *world, int per_thousand)
{
    return world->faults_on && per_thousand > 0 &&
           rng_below(&world->rng, 1000) < (uint64_t)per_thousand;
}

int64_t sim_between(struct world *world, int64_t from, int64_t to)
{
    return from + (int64_t)rng_below(&world->rng, (uint64_t)(to - from) + 1);
}

static int pick(struct world *world, const int *values, size_t count)
{
    return values[rng_below(&world->rng, count)];
}

/* Each kind of fault is absent from many schedules, so that each is also seen alone. */
static void faults_plan(struct world *world)
{
    static const int some[] = {0, 0, 0, 10, 50, 150};
    static const int rare[] = {0, 0, 3, 10, 40};
    struct sim_faults *f = &world->faults;
    int *const frequent[] = {&f->store_lost,    &f->store_reply_lost, &f->store_late,
                             &f->store_refused, &f->call_lost,        &f->reply_lost,
                             &f->call_twice,    &f->call_late,        &f->part_error,
                             &f->part_ongoing,  &f->part_half};
    for (size_t i = 0; i < sizeof(frequent) / sizeof(frequent[0]); i++) {
        *frequent[i] = pick(world, some, sizeof(some) / sizeof(some[0]));
    }
    f->crash = pick(world, rare, sizeof(rare) / sizeof(rare[0]));
    f->pause = pick(world, rare, sizeof(rare) / sizeof(rare[0]));
    f->drain = pick(world, rare, sizeof(rare) / sizeof(rare[0]));
}

/* ---- words ---- */

void sim_trace(struct world *world, const char *fmt, ...)
{
    if (!world->verbose) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    printf("%7" PRId64 " ", world->now_ms);
    vprintf(fmt, args);
    putchar('\n');
    va_end(args);
}

void sim_fail(struct world *world, const char *what, const char *fmt, ...)
{
    if (world->violated) {
        return;
    }
    world->violated = true;
    int n = snprintf(world->violation, sizeof(world->violation), "%s at %" PRId64 " ms: ", what,
                     world->now_ms);
    va_list args;
    va_start(args, fmt);
    vsnprintf(world->violation + n, sizeof(world->violation) - (size_t)n, fmt, args);
    va_end(args);
    sim_trace(world, "VIOLATION %s", world->violation);
}

/* ---- transactions ---- */

struct sim_txn *sim_txn_find(struct world *world, struct slice gid)
{
    for (size_t i = 0; i < world->txn_count; i++) {
        if (slice_eq_str(gid, world->txns[i].gid)) {
            return &world->txns[i];
        }
    }
    unreachable("gid of no transaction");
}

struct slice sim_branch_id(size_t branch, char out[SIM_ID_SIZE])
{
    snprintf(out, SIM_ID_SIZE, "%02d", branch == SIM_CHECK ? 0 : (int)branch % 99 + 1);
    return slice_str(out);
}

size_t sim_branch_of(struct slice id)
{
    int64_t number = 0;
    bool good = slice_to_int64(slice_make(id.ptr + 1, 1), &number); /* "01" */
    check(id.len == 2 && good && number <= SIM_BRANCHES_MAX);
    return number == 0 ? SIM_CHECK : (size_t)number - 1;
}

/* Which of the earlier branches come before this one. */
static void after_plan(struct world *world, struct sim_txn *txn, size_t i)
{
    struct sim_part *part = &txn->parts[i];
    for (uint8_t j = 0; txn->options.concurrent && txn->type == TXN_SAGA && j < i; j++) {
        if (sim_between(world, 0, 2) == 0) {
            part->after[part->after_count++] = j;
        }
    }
}

static void branch_plan(struct world *world, struct sim_txn *txn, size_t i)
{
    static const int refusals[] = {0, 0, 0, 0, 0, 50, 100};
    struct sim_part *part = &txn->parts[i];
    part->refuse_percent = pick(world, refusals, sizeof(refusals) / sizeof(refusals[0]));
    if (txn->type == TXN_MSG && part->refuse_percent > 50) {
        part->refuse_percent = 50; /* a message is delivered until it is accepted */
    }
    part->has_action = sim_between(world, 0, 9) > 0 || txn->from_outbox;
    part->has_compensate = sim_between(world, 0, 9) > 0;
    part->has_action = part->has_action || sim_client_calls(txn);
    if (part->has_action && !sim_client_calls(txn)) {
        snprintf(txn->urls[i][OP_ACTION], SIM_URL_SIZE, "tcp://p%zu/P.S/Do", i);
    }
    part->has_compensate = part->has_compensate && txn->type != TXN_MSG;
    if (part->has_compensate) {
        snprintf(txn->urls[i][OP_UNDO], SIM_URL_SIZE, "tcp://p%zu/P.S/Undo", i);
    }
    part->has_confirm =
        (txn->type == TXN_TCC || txn->type == TXN_XA) && sim_between(world, 0, 9) > 0;
    if (part->has_confirm) {
        snprintf(txn->urls[i][OP_CONFIRM], SIM_URL_SIZE, "tcp://p%zu/P.S/Keep", i);
    }
    after_plan(world, txn, i);
}

/* It times out never, and all its steps can be undone. */
static void workflow_plan(struct sim_txn *txn)
{
    txn->options.timeout_to_fail_ms = txn->options.retry_limit = 0;
    for (size_t i = 0; i < txn->branch_count; i++) {
        txn->parts[i].has_compensate = true;
    }
}

static void type_plan(struct world *world, struct sim_txn *txn)
{
    static const struct {
        enum txn_type type;
        bool prepared;
    } kinds[] = {{TXN_SAGA, false},   {TXN_SAGA, false}, {TXN_SAGA, false}, {TXN_TCC, false},
                 {TXN_TCC, false},    {TXN_MSG, false},  {TXN_MSG, false},  {TXN_TCC, true},
                 {TXN_TCC, true},     {TXN_XA, true},    {TXN_MSG, true},   {TXN_MSG, true},
                 {TXN_WORKFLOW, true}};
    int64_t kind = sim_between(world, 0, sizeof(kinds) / sizeof(kinds[0]) - 1);
    txn->type = kinds[kind].type;
    txn->check_url = "";
    if (kinds[kind].prepared) {
        sim_initiator_plan(world, txn);
    }
    if (kinds[kind].prepared && (txn->type == TXN_MSG || txn->type == TXN_WORKFLOW)) {
        txn->check_url = "tcp://client/C.S/Check";
    }
    txn->options.declared = txn->type == TXN_TCC && !kinds[kind].prepared;
    bool may_run_beside = txn->type == TXN_SAGA || txn->type == TXN_MSG;
    txn->options.concurrent = may_run_beside && sim_between(world, 0, 2) == 0;
}

/* The change that leaves it is asked for by a client, or is the first action of a saga before it.
 */
static void outbox_plan(struct world *world, struct sim_txn *txn, size_t index)
{
    struct sim_change *change = &txn->change;
    const struct sim_txn *saga = index > 0 ? &world->txns[index - 1] : NULL;
    txn->from_outbox = true;
    txn->options.timeout_to_fail_ms = txn->options.retry_limit = 0; /* an entry cannot say it */
    change->refused = sim_between(world, 0, 3) == 0;
    if (saga && saga->type == TXN_SAGA && sim_between(world, 0, 1)) {
        change->saga = saga;
    }
}

static void txn_plan(struct world *world, struct sim_txn *txn, size_t index)
{
    static const int timeouts[] = {0, 0, 0, 500, 3000, 12000};
    static const int limits[] = {0, 0, 0, 1, 3};
    static const int intervals[] = {0, 0, 200, 7000};
    snprintf(txn->gid, sizeof(txn->gid), "t%zu", index);
    txn->branch_count = (size_t)sim_between(world, 1, SIM_BRANCHES_MAX);
    type_plan(world, txn);
    txn->options.timeout_to_fail_ms =
        sim_client_calls(txn) ? pick(world, timeouts + 3, 3) : pick(world, timeouts, 6);
    txn->options.retry_limit = pick(world, limits, 5);
    txn->options.retry_interval_ms = pick(world, intervals, 4);
    if (txn->type == TXN_MSG && !txn->initiator.plays && sim_between(world, 0, 2) > 0) {
        outbox_plan(world, txn, index);
    }
    for (size_t i = 0; i < txn->branch_count; i++) {
        branch_plan(world, txn, i);
    }
    if (txn->type == TXN_WORKFLOW) {
        workflow_plan(txn);
    }
}

/* ---- a schedule ---- */

static void on_loss(struct sim_event *event)
{
    struct world *world = container_of(event, struct world, loss);
    sim_store_go_back(world);
    if (sim_chance(world, 300)) {
        sim_at(world, event, world->now_ms + sim_between(world, 100, 5000), on_loss);
    }
}

static void on_calm(struct sim_event *event)
{
    struct world *world = container_of(event, struct world, calm);
    sim_trace(world, "faults stop");
    world->faults_on = false;
    for (int i = 0; i < SIM_NODES; i++) {
        world->nodes[i].paused_until_ms = 0;
    }
}

static bool all_ended(const struct world *world)
{
    for (size_t i = 0; i < world->txn_count; i++) {
        const struct sim_rec *rec = &world->txns[i].rec;
        enum sim_mail mail = world->txns[i].change.mail;
        bool settled = txn_status_is_final(rec->status) || (rec->parked && world->txns[i].conflict);
        if ((rec->exists && !settled) || mail == MAIL_WAITS || mail == MAIL_READ) {
            return false;
        }
    }
    return sim_clients_are_done(world) && !world->calls;
}

static void plan(struct world *world)
{
    static const int parks[] = {0, 0, 1, 2, 4};
    world->txn_count = (size_t)sim_between(world, 1, SIM_TXNS_MAX);
    for (size_t i = 0; i < world->txn_count; i++) {
        txn_plan(world, &world->txns[i], i);
    }
    faults_plan(world);
    world->live_max = sim_between(world, 0, 3) == 0 ? 1 : 100;
    world->park_after = pick(world, parks, sizeof(parks) / sizeof(parks[0]));
    bool loses = sim_between(world, 0, 5) == 0;
    for (int i = 0; i < SIM_NODES; i++) {
        world->nodes[i].world = world;
        world->nodes[i].index = i;
        sim_node_start(&world->nodes[i]);
    }
    sim_clients_plan(world);
    sim_outbox_plan(world);
    sim_at(world, &world->calm, SIM_FAULTS_MS, on_calm);
    if (loses) {
        sim_at(world, &world->loss, sim_between(world, 5, 15000), on_loss);
    }
}

/* What is left in the heap is freed by playing it: nobody listens any more. */
static void clean_up(struct world *world)
{
    struct heap_node *first;
    for (int i = 0; i < SIM_NODES; i++) {
        sim_node_stop(&world->nodes[i]);
        sim_cancel(world, &world->nodes[i].restart);
    }
    world->violated = true; /* whatever happens now is no news */
    world->verbose = false;
    world->faults_on = false;
    sim_clients_free(world);
    while ((first = heap_first(&world->events))) {
        struct sim_event *event = container_of(first, struct sim_event, node);
        heap_remove(&world->events, first);
        event->fn(event);
    }
    heap_fini(&world->events);
    free(world->undos);
    sim_outbox_free(world);
}

bool sim_run(struct world *world)
{
    rng_seed(&world->rng, world->seed);
    world->faults_on = true;
    plan(world);
    bool more = true;
    while (more) {
        more = play_next(world);
        if (!world->faults_on && all_ended(world)) {
            break;
        }
    }
    if (!world->violated) {
        check_end(world);
    }
    bool fine = !world->violated;
    clean_up(world);
    return fine;
}
