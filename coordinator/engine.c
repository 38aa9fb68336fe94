#include "coordinator/engine_impl.h"

#include "base/mem.h"

#include <stdlib.h>

/* ---- life ---- */

struct engine *engine_new(const struct engine_conf *conf, const struct engine_env *env)
{
    check(conf->lease_ms > 0 && conf->live_max > 0 && conf->request_timeout_ms > 0);
    struct engine *engine = mem_new(struct engine);
    engine->conf = *conf;
    engine->env = *env;
    engine_tune(engine, conf);
    rng_seed(&engine->rng, env->seed);
    engine->announced_ms = INT64_MAX;
    return engine;
}

void engine_tune(struct engine *engine, const struct engine_conf *conf)
{
    int64_t lease_ms = engine->conf.lease_ms, lazy_ms = engine->conf.lazy_ms;
    engine->conf = *conf;
    engine->conf.lease_ms = lease_ms;
    engine->conf.lazy_ms = lazy_ms;
    engine->limits.retry_interval_ms = conf->retry_interval_ms;
    engine->limits.retry_interval_max_ms = conf->retry_interval_max_ms;
    engine->limits.park_after = conf->park_after;
}

void engine_free(struct engine *engine)
{
    if (!engine) {
        return;
    }
    struct live *live, *next;
    HASH_ITER(hh, engine->live, live, next)
    {
        while (live->tickets) {
            ticket_cancel(live->tickets);
        }
        live_discard(live);
    }
    while (engine->gone) {
        live_discard(engine->gone);
    }
    while (engine->loose) {
        ticket_cancel(engine->loose);
    }
    while (engine->idle_calls) {
        struct live_call *call_next = engine->idle_calls->next;
        free(engine->idle_calls);
        engine->idle_calls = call_next;
    }
    buf_fini(&engine->payload);
    heap_fini(&engine->live_timers);
    heap_fini(&engine->ticket_timers);
    free(engine);
}

int64_t engine_now(const struct engine *engine)
{
    return engine->env.now_ms(engine->env.now_arg);
}

int64_t engine_live_count(const struct engine *engine)
{
    return (int64_t)HASH_COUNT(engine->live);
}

int64_t engine_room(const struct engine *engine)
{
    bool has_bytes =
        engine->conf.live_bytes_max == 0 || engine->live_bytes < engine->conf.live_bytes_max;
    int64_t room = engine->conf.live_max - engine_live_count(engine);
    return !engine->draining && has_bytes && room > 0 ? room : 0;
}

bool engine_has_room(const struct engine *engine)
{
    return engine_room(engine) > 0;
}

struct live *engine_find(const struct engine *engine, struct slice gid)
{
    struct live *live = NULL;
    HASH_FIND(hh, engine->live, gid.ptr, gid.len, live);
    return live;
}

bool engine_is_live(const struct engine *engine, struct slice gid)
{
    return engine_find(engine, gid);
}

/* ---- time ---- */

static bool is_drained(const struct engine *engine)
{
    return engine->drained && !engine->live && !engine->loose;
}

static int64_t first_at(const struct heap *heap)
{
    const struct heap_node *node = heap_first(heap);
    return node ? node->at : INT64_MAX;
}

int64_t engine_next_ms(const struct engine *engine)
{
    if (is_drained(engine)) {
        return 0;
    }
    int64_t a = first_at(&engine->live_timers);
    int64_t b = first_at(&engine->ticket_timers);
    return a < b ? a : b;
}

void engine_announce(struct engine *engine)
{
    int64_t next_ms = engine_next_ms(engine);
    if (next_ms < engine->announced_ms) {
        engine->announced_ms = next_ms;
        if (engine->wake) {
            engine->wake(engine->wake_arg);
        }
    }
}

void engine_on_wake(struct engine *engine, void (*fn)(void *arg), void *arg)
{
    engine->wake = fn;
    engine->wake_arg = arg;
}

static void run_timers(struct engine *engine, int64_t now_ms)
{
    while (first_at(&engine->ticket_timers) <= now_ms) {
        ticket_timer_fired(container_of(heap_first(&engine->ticket_timers), struct ticket, timer));
    }
    while (first_at(&engine->live_timers) <= now_ms) {
        live_drive(container_of(heap_first(&engine->live_timers), struct live, timer));
    }
}

int64_t engine_tick(struct engine *engine)
{
    run_timers(engine, engine_now(engine));
    if (is_drained(engine)) {
        void (*drained)(void *) = engine->drained;
        engine->drained = NULL;
        drained(engine->drained_arg);
    }
    engine->announced_ms = engine_next_ms(engine);
    return engine->announced_ms;
}

void engine_drain(struct engine *engine, void (*done)(void *arg), void *arg)
{
    engine->draining = true;
    engine->drained = done;
    engine->drained_arg = arg;
    for (struct live *live = engine->live; live; live = live->hh.next) {
        live_poke(live);
    }
    for (struct ticket *t = engine->loose; t; t = t->next) {
        if (t->state == TICKET_LOOKING) { /* learns what was seen last, at the next tick */
            t->end_ms = engine_now(engine);
            ticket_arm(t);
        }
    }
    engine_announce(engine);
}

void engine_abandon(struct engine *engine)
{
    check(engine->draining);
    engine->abandoning = true;
    for (struct live *live = engine->live; live; live = live->hh.next) {
        live_poke(live);
    }
    engine_announce(engine);
}

/* ---- requests ---- */

/* Of a tcc, xa or msg that gives none, its client shall be waited for so long. */
static struct txn *txn_of(const struct engine *engine, const struct txn_spec *spec)
{
    struct txn *txn = txn_new(spec);
    bool waits = txn->status == TXN_PREPARED && txn->type != TXN_SAGA && txn->type != TXN_WORKFLOW;
    if (waits && txn->options.timeout_to_fail_ms == 0) {
        txn->options.timeout_to_fail_ms = engine->conf.timeout_to_fail_ms;
    }
    return txn;
}

/* Is it more likely that the client has prepared it than that it is new? */
static bool was_prepared(const struct txn *txn)
{
    switch (txn->type) {
    case TXN_SAGA: return false;
    case TXN_TCC: return !txn->options.declared;
    case TXN_MSG: return txn->branch_count == 0 || txn_check_url(txn).len > 0;
    case TXN_XA:
    case TXN_WORKFLOW: return true;
    }
    unreachable("type");
}

static void submit_new(struct engine *engine, struct txn *txn, struct ticket *ticket)
{
    if (!engine_has_room(engine)) {
        ticket_refuse_room(ticket);
        txn_free(txn);
    } else if (was_prepared(txn)) {
        ticket->fresh = txn;
        ticket_take(ticket, txn->gid);
    } else {
        ticket_attach(ticket, live_create(engine, txn));
    }
}

void engine_submit(struct engine *engine, const struct txn_spec *spec, struct engine_wait wait,
                   engine_cb cb, void *arg)
{
    struct ticket *ticket = ticket_new(engine, TICKET_SUBMIT, cb, arg);
    ticket->mode = wait.mode;
    enum err err = txn_type_parse(spec->trans_type, &ticket->type);
    check(err == ERR_OK); /* the spec was checked */
    ticket->starts = !spec->options.declared;
    ticket->delay_ms = spec->options.delay_ms;
    if (wait.mode == ENGINE_WAIT_END || wait.wait_ms > 0) {
        ticket->end_ms = engine_now(engine) + wait.wait_ms;
    }
    struct live *live = engine_find(engine, spec->gid);
    if (live) {
        ticket_join(ticket, live);
    } else {
        submit_new(engine, txn_of(engine, spec), ticket);
    }
    engine_announce(engine);
}

static void request(struct engine *engine, struct ticket *ticket, struct slice gid)
{
    struct live *live = engine_find(engine, gid);
    if (live) {
        ticket_attach(ticket, live);
        live_poke(live);
    } else {
        ticket_take(ticket, gid);
    }
    engine_announce(engine);
}

void engine_prepare(struct engine *engine, const struct txn_spec *spec, engine_cb cb, void *arg)
{
    struct ticket *ticket = ticket_new(engine, TICKET_PREPARE, cb, arg);
    ticket->fresh = txn_of(engine, spec);
    if (engine->draining) {
        ticket_refuse(ticket, ERR_BUSY, "shutting down");
    } else {
        ticket_prepare(ticket);
    }
    engine_announce(engine);
}

void engine_register(struct engine *engine, struct slice gid, const struct store_branch *branch,
                     engine_cb cb, void *arg)
{
    ticket_register(ticket_new(engine, TICKET_REGISTER, cb, arg), gid, branch);
    engine_announce(engine);
}

void engine_finish(struct engine *engine, struct slice gid, const struct engine_finish *finish,
                   engine_cb cb, void *arg)
{
    check(txn_status_is_final(finish->status));
    struct ticket *ticket = ticket_new(engine, TICKET_FINISH, cb, arg);
    ticket->type = TXN_WORKFLOW;
    ticket->told = finish->status;
    ticket->text = slice_dup(finish->reason);
    ticket->text_len = finish->reason.len;
    ticket->result = slice_dup(finish->result);
    ticket->result_len = finish->result.len;
    request(engine, ticket, gid);
}

void engine_abort(struct engine *engine, struct slice gid, struct slice reason, engine_cb cb,
                  void *arg)
{
    engine_abort_wait(engine, gid, reason, ENGINE_WAIT_STORED, cb, arg);
}

void engine_abort_wait(struct engine *engine, struct slice gid, struct slice reason,
                       enum engine_wait_mode mode, engine_cb cb, void *arg)
{
    check(mode != ENGINE_WAIT_END);
    struct ticket *ticket = ticket_new(engine, TICKET_ABORT, cb, arg);
    ticket->mode = mode;
    struct slice text = reason.len > 0 ? reason : slice_str("aborted by a client");
    ticket->text = slice_dup(text);
    ticket->text_len = text.len;
    request(engine, ticket, gid);
}

void engine_force_stop(struct engine *engine, struct slice gid, engine_cb cb, void *arg)
{
    struct ticket *ticket = ticket_new(engine, TICKET_FORCE_STOP, cb, arg);
    ticket->text = slice_dup(slice_str("force stopped"));
    ticket->text_len = slice_str(ticket->text).len;
    request(engine, ticket, gid);
}

void engine_retry_now(struct engine *engine, struct slice gid, engine_cb cb, void *arg)
{
    request(engine, ticket_new(engine, TICKET_RETRY_NOW, cb, arg), gid);
}

void engine_unpark(struct engine *engine, struct slice gid, engine_cb cb, void *arg)
{
    request(engine, ticket_new(engine, TICKET_UNPARK, cb, arg), gid);
}

void engine_resolve(struct engine *engine, struct slice gid, const struct engine_resolve *resolve,
                    engine_cb cb, void *arg)
{
    struct ticket *ticket = ticket_new(engine, TICKET_RESOLVE, cb, arg);
    ticket->branch_id = slice_dup(resolve->branch_id);
    ticket->op_name = slice_dup(resolve->op);
    ticket->text = slice_dup(resolve->reason);
    ticket->text_len = resolve->reason.len;
    request(engine, ticket, gid);
}

void engine_adopt(struct engine *engine, struct txn *txn, int64_t sent_ms)
{
    live_adopt(engine, txn, sent_ms);
    engine_announce(engine);
}
