#include "coordinator/engine_impl.h"

#include "base/log.h"
#include "base/mem.h"
#include "coordinator/saga.h"

#include <stdlib.h>

/* ---- memory ---- */

static void result_clear(struct live *live)
{
    free(live->held_text);
    live->held_text = NULL;
    live->has_result = false;
}

void live_discard(struct live *live)
{
    check(!live->tickets);
    if (live->state == LIVE_GONE) {
        /* The list is a ring backwards: what the analyzer fears cannot be. */
        DL_DELETE(live->engine->gone, live); // NOLINT(clang-analyzer-core.NullDereference)
    } else {
        HASH_DELETE(hh, live->engine->live, live);
    }
    heap_remove(&live->engine->live_timers, &live->timer);
    live_notes_clear(live);
    free(live->notes);
    free(live->held_text);
    txn_free(live->txn);
    free(live);
}

/* It is out of the table; the memory stays while a callback may still name it. */
static void live_bury(struct live *live)
{
    heap_remove(&live->engine->live_timers, &live->timer);
    live->state = LIVE_GONE;
    DL_APPEND(live->engine->gone, live);
    if (live->in_flight == 0) {
        live_discard(live);
    }
}

void live_leave(struct live *live)
{
    HASH_DELETE(hh, live->engine->live, live);
    live_bury(live);
}

struct live *live_new(struct engine *engine, struct txn *txn, enum live_state state)
{
    struct live *live = mem_new(struct live);
    live->engine = engine;
    live->txn = txn;
    live->state = state;
    live->stored = txn->status;
    live->lazy_at_ms = INT64_MAX;
    live->lease_until_ms = INT64_MAX;
    HASH_ADD_KEYPTR(hh, engine->live, txn->gid.ptr, txn->gid.len, live);
    return live;
}

/* ---- timers ---- */

static int64_t live_renew_at(const struct live *live)
{
    return live->lease_until_ms - live->engine->conf.lease_ms / 2;
}

int64_t live_timeout_at(const struct live *live)
{
    return live->txn->status == TXN_SUBMITTED ? live->txn->run.timeout_at_ms : INT64_MAX;
}

static int64_t next_time(const struct live *live)
{
    int64_t at = min_ms(live->lazy_at_ms, min_ms(live_renew_at(live), live_timeout_at(live)));
    return live->step.next == NEXT_WAIT ? min_ms(at, live->step.until_ms) : at;
}

void live_timer_set(struct live *live)
{
    struct heap *heap = &live->engine->live_timers;
    switch (live->state) {
    case LIVE_RUNNING: heap_set(heap, &live->timer, next_time(live)); break;
    case LIVE_RESENDING: heap_set(heap, &live->timer, live->resend_at_ms); break;
    case LIVE_CREATING:
    case LIVE_STORING:
    case LIVE_GONE: heap_remove(heap, &live->timer); break;
    }
}

void live_poke(struct live *live)
{
    if (live->state == LIVE_RUNNING) {
        heap_set(&live->engine->live_timers, &live->timer, engine_now(live->engine));
    }
}

/* ---- leaving ---- */

/* Another coordinator has it, or will: who waits for it looks into the store from now on. */
void live_drop(struct live *live, const char *why)
{
    struct ticket *ticket;
    log_info("engine", "msg=\"gave up a transaction: %s\" gid=%.*s", why,
             SLICE_ARG(live->txn->gid));
    while ((ticket = live->tickets)) {
        ticket_detach(ticket);
        if (ticket->kind == TICKET_SUBMIT) {
            ticket_look(ticket, live->txn->gid, live->stored);
        } else {
            ticket_fail(ticket, ERR_UNAVAILABLE, "another coordinator took it over; ask again");
        }
    }
    live_leave(live);
}

void live_released(struct live *live)
{
    const struct engine_observer *observer = &live->engine->env.observer;
    struct ticket *ticket;
    while ((ticket = live->tickets)) {
        ticket_detach(ticket);
        bool wait = ticket->kind == TICKET_SUBMIT && ticket->mode == ENGINE_WAIT_END;
        if (wait && !live->engine->draining) {
            ticket_look(ticket, live->txn->gid, live->stored);
        } else if (ticket->kind == TICKET_SUBMIT || ticket->state == TICKET_APPLIED) {
            ticket_answer_state(ticket, live->stored, live->txn->rollback_reason);
        } else {
            ticket_take(ticket, live->txn->gid);
        }
    }
    if (observer->released) {
        observer->released(observer->arg, live->txn, live->due.in_ms);
    }
    live_leave(live);
}

void live_ended(struct live *live)
{
    const struct engine_observer *observer = &live->engine->env.observer;
    struct txn *txn = live->txn;
    struct ticket *ticket;
    while ((ticket = live->tickets)) {
        ticket_detach(ticket);
        ticket_answer_state(ticket, txn->status, txn->rollback_reason);
    }
    if (observer->finished) {
        observer->finished(observer->arg, txn, txn->finished_ms - txn->created_ms);
    }
    live_leave(live);
}

/* ---- calling ---- */

static void result_keep(struct live *live, const struct call_result *result)
{
    live->has_result = true;
    live->verdict = result->verdict;
    live->call_ms = result->duration_us / 1000;
    live->text = result->message;
    if (live->state != LIVE_RUNNING) { /* the rules get it later */
        live->held_text = slice_dup(result->message);
        live->text.ptr = live->held_text;
    }
}

static void on_called(void *arg, const struct call_result *result)
{
    struct live *live = arg;
    struct engine *engine = live->engine;
    const struct engine_observer *observer = &engine->env.observer;
    live->in_flight--;
    if (observer->called) {
        observer->called(observer->arg, live->txn, live->txn->run.op, result->verdict,
                         result->duration_us);
    }
    if (live->state != LIVE_GONE) {
        result_keep(live, result);
        live_drive(live);
    } else if (live->in_flight == 0) {
        live_discard(live);
    }
    engine_announce(engine);
}

static void live_call(struct live *live)
{
    struct engine *engine = live->engine;
    struct txn *txn = live->txn;
    const struct txn_branch *branch = &txn->branches[live->step.branch];
    enum txn_op op = live->step.op;
    int64_t timeout_ms = txn->options.request_timeout_ms;
    txn->run.calling = true;
    txn->run.branch = live->step.branch;
    txn->run.op = op;
    txn->run.maybe_started = txn->run.maybe_started || op == OP_ACTION;
    live->step = (struct step){.next = NEXT_AWAIT};
    live->in_flight++;
    struct branch_call call = {
        .txn = txn,
        .branch = branch,
        .op = op,
        .url = branch->ops[op].url,
        .timeout_ms = timeout_ms > 0 ? timeout_ms : engine->conf.request_timeout_ms,
    };
    engine->env.caller->ops->start(engine->env.caller, &call, on_called, live);
}

/* ---- the driver ---- */

/* A submit that found the gid alive: its state is the answer, or it waits with the others. */
static void greet_submit(struct live *live, struct ticket *ticket)
{
    if (ticket->mode == ENGINE_WAIT_STORED) {
        ticket_detach(ticket);
        ticket_answer_state(ticket, live->stored, live->txn->rollback_reason);
    } else {
        ticket->state = TICKET_APPLIED;
    }
}

/* The first request that the rules do not know of. Waiting submits only want to be seen. */
static struct ticket *next_request(struct live *live)
{
    struct ticket *ticket = live->tickets;
    while (ticket && (ticket->state != TICKET_NEW || ticket->kind == TICKET_SUBMIT)) {
        struct ticket *next = ticket->next;
        if (ticket->state == TICKET_NEW) {
            greet_submit(live, ticket);
            next = live->tickets; /* the answer may have brought anything: from the start */
        }
        ticket = next;
    }
    return ticket;
}

static struct event next_event(struct live *live, struct ticket *request, int64_t now_ms)
{
    struct event event = {.kind = EVENT_TICK, .now_ms = now_ms};
    if (live->has_result) {
        event.kind = EVENT_CALLED;
        event.verdict = live->verdict;
        event.text = live->text;
        event.random = live->verdict == CALL_SUCCESS ? 0 : rng_next(&live->engine->rng);
    } else if (request) {
        event.kind = request->kind == TICKET_ABORT        ? EVENT_ABORT
                     : request->kind == TICKET_FORCE_STOP ? EVENT_FORCE_STOP
                                                          : EVENT_RETRY_NOW;
        event.text = slice_make(request->text, request->text_len);
    }
    return event;
}

/* Gives the rules one event. */
static void live_feed(struct live *live, const struct event *event)
{
    enum txn_status before = live->txn->status;
    if (event->kind == EVENT_CALLED) {
        live_note_attempt(live);
    }
    switch (live->txn->type) {
    case TXN_SAGA: live->step = saga_step(live->txn, &live->engine->limits, event); break;
    }
    if (live->txn->status != before) {
        live_note_transition(live);
    }
    if (event->kind == EVENT_CALLED) {
        result_clear(live);
    }
    if (live->step.save == SAVE_LAZY) {
        live->lazy_at_ms = min_ms(live->lazy_at_ms, event->now_ms + live->engine->conf.lazy_ms);
    }
}

/* One event, the request's answer included when nothing had to be stored for it. */
static void live_turn(struct live *live, struct ticket *request, int64_t now_ms)
{
    struct event event = next_event(live, request, now_ms);
    live_feed(live, &event);
    if (event.kind == EVENT_TICK || event.kind == EVENT_CALLED) {
        return;
    }
    request->state = TICKET_APPLIED;
    if (live->step.save != SAVE_FIRST) {
        live_answer_applied(live);
    }
}

/* Something must be tried again later: who does not wait for the end learns the state of now. */
static void answer_settled(struct live *live)
{
    struct ticket *ticket;
    do {
        ticket = live->tickets;
        while (ticket && (ticket->state != TICKET_APPLIED || ticket->mode != ENGINE_WAIT_SETTLE)) {
            ticket = ticket->next;
        }
        if (ticket) {
            ticket_detach(ticket);
            ticket_answer_state(ticket, live->stored, live->txn->rollback_reason);
        }
    } while (ticket);
}

static void live_perform(struct live *live, int64_t now_ms)
{
    if (live->step.next == NEXT_WAIT) {
        answer_settled(live);
    }
    if (live_may_release(live)) {
        live_save(live);
        return;
    }
    if (live->step.next == NEXT_CALL) {
        live_call(live);
    }
    if (now_ms >= live->lazy_at_ms || now_ms >= live_renew_at(live) ||
        live->note_count >= LIVE_NOTES_SAVE) {
        live_save(live);
    }
}

void live_drive(struct live *live)
{
    if (live->state == LIVE_RESENDING && engine_now(live->engine) >= live->resend_at_ms) {
        live_send(live); /* the same as before */
    }
    if (live->state != LIVE_RUNNING) {
        return;
    }
    int64_t now_ms = engine_now(live->engine);
    if (now_ms >= live->lease_until_ms) {
        live_drop(live, "lease over");
        return;
    }
    struct ticket *request;
    bool more;
    do {
        request = next_request(live);
        more = live->has_result || request;
        live_turn(live, request, now_ms);
    } while (more && live->step.save != SAVE_FIRST);
    if (live->step.save == SAVE_FIRST) {
        live_save(live);
    } else {
        live_perform(live, now_ms);
    }
    live_timer_set(live);
}

/* ---- beginning ---- */

/* Takes everybody who waits for it; TICKET_APPLIED is void, nothing was stored. */
static void tickets_move(struct live *from, struct live *to)
{
    struct ticket *ticket;
    while ((ticket = from->tickets)) {
        ticket_detach(ticket);
        ticket->existed = true;
        ticket_attach(ticket, to);
    }
}

struct live *live_adopt(struct engine *engine, struct txn *txn, int64_t sent_ms)
{
    struct live *old = engine_find(engine, txn->gid);
    if (old && old->txn->epoch > txn->epoch) {
        txn_free(txn);
        return old;
    }
    if (old) { /* leaves the table first: two with one key would not do */
        HASH_DELETE(hh, engine->live, old);
    }
    struct live *live = live_new(engine, txn, LIVE_RUNNING);
    if (old) {
        tickets_move(old, live);
        live_bury(old);
    }
    int64_t age_ms = txn->seen_ms > txn->created_ms ? txn->seen_ms - txn->created_ms : 0;
    if (txn->options.timeout_to_fail_ms > 0) {
        txn->run.timeout_at_ms = sent_ms + txn->options.timeout_to_fail_ms - age_ms;
    }
    live->acked_ms = sent_ms;
    live->lease_until_ms = sent_ms + engine->conf.lease_ms;
    live_poke(live);
    return live;
}
