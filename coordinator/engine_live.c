#include "coordinator/engine_impl.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/payload.h"
#include "coordinator/rules.h"

#include <stdlib.h>

/* ---- memory ---- */

static struct live_call *call_new(struct live *live, size_t branch, enum txn_op op)
{
    struct live_call *call = live->engine->idle_calls;
    if (call) {
        live->engine->idle_calls = call->next;
    } else {
        call = mem_alloc(sizeof(*call));
    }
    *call = (struct live_call){.live = live, .branch = branch, .op = op};
    return call;
}

static void call_free(struct live_call *call)
{
    struct engine *engine = call->live->engine;
    free(call->held);
    call->next = engine->idle_calls;
    engine->idle_calls = call;
}

static void calls_free(struct live_call **list)
{
    while (*list) {
        struct live_call *call = *list;
        DL_DELETE(*list, call);
        call_free(call);
    }
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
    live->engine->live_bytes -= live->bytes;
    live_notes_clear(live);
    free(live->notes);
    free(live->error);
    calls_free(&live->calls); /* of these nothing completes any more */
    calls_free(&live->results);
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
    live->bytes = (int64_t)(sizeof(*live) + arena_size(&txn->arena));
    engine->live_bytes += live->bytes;
    live->stored = txn->status;
    live->lazy_at_ms = INT64_MAX;
    live->lease_until_ms = INT64_MAX;
    HASH_ADD_KEYPTR(hh, engine->live, txn->gid.ptr, txn->gid.len, live);
    return live;
}

/* ---- timers ---- */

/* When about half of the lease is left, each at a time of its own: thousands that wait for one sick
 * participant must not all be stored in one moment, in which everybody else would wait. */
static int64_t live_renew_at(const struct live *live)
{
    int64_t lease_ms = live->engine->conf.lease_ms;
    int64_t spread_ms = live->hh.hashv % (lease_ms / 4 + 1);
    return live->lease_until_ms - lease_ms * 3 / 8 - spread_ms;
}

int64_t live_timeout_at(const struct live *live)
{
    return rules_can_time_out(live->txn) ? live->txn->run.timeout_at_ms : INT64_MAX;
}

static int64_t next_time(const struct live *live)
{
    int64_t at = min_ms(live->lazy_at_ms, min_ms(live_renew_at(live), live_timeout_at(live)));
    bool waits = live->step.next == NEXT_WAIT || live->step.next == NEXT_AWAIT;
    return waits ? min_ms(at, live->step.until_ms) : at;
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

/* A submit of a prepared transaction that is not in the store yet. */
static bool wants_start(const struct live *live, const struct ticket *ticket)
{
    return ticket->kind == TICKET_SUBMIT && ticket->starts && live->stored == TXN_PREPARED;
}

/* Another coordinator has it, or will: who waits for it looks into the store from now on. */
void live_drop(struct live *live, const char *why)
{
    struct ticket *ticket;
    char gid[256];
    log_info("engine", "msg=\"gave up a transaction: %s\" gid=\"%s\"", why,
             log_text(live->txn->gid, gid, sizeof(gid)));
    while ((ticket = live->tickets)) {
        ticket_detach(ticket);
        if (ticket->kind == TICKET_SUBMIT && !wants_start(live, ticket)) {
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
        bool wait = ticket->kind == TICKET_SUBMIT && ticket->mode == ENGINE_WAIT_END &&
                    !wants_start(live, ticket);
        if (wait && !live->engine->draining) {
            ticket_look(ticket, live->txn->gid, live->stored);
        } else if ((ticket->kind == TICKET_SUBMIT && !wants_start(live, ticket)) ||
                   ticket->state == TICKET_APPLIED) {
            ticket_answer_state(ticket, live->stored, live->txn->rollback_reason);
        } else {
            ticket_take(ticket, live->txn->gid);
        }
    }
    if (live->due.park) {
        if (live->txn->parked_ms == 0) { /* else it was, and still is */
            live_tell_parked(live);
        }
    } else if (observer->released) {
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

static void result_keep(struct live_call *call, const struct call_result *result)
{
    struct live *live = call->live;
    check(live->state != LIVE_RUNNING || !live->results); /* so the rules get it at once */
    call->verdict = result->verdict;
    call->duration_ms = result->duration_us / 1000;
    call->text = result->message;
    if (live->state != LIVE_RUNNING) { /* the rules get it later */
        call->held = slice_dup(result->message);
        call->text.ptr = call->held;
    }
    DL_APPEND(live->results, call);
}

static void on_called(void *arg, const struct call_result *result)
{
    struct live_call *call = arg;
    struct live *live = call->live;
    struct engine *engine = live->engine;
    const struct engine_observer *observer = &engine->env.observer;
    if (FAULT("engine.after_call_before_store") && live->state != LIVE_GONE) {
        live_drop(live, "fault point");
    }
    live->in_flight--;
    DL_DELETE(live->calls, call);
    if (observer->called) {
        observer->called(observer->arg, live->txn,
                         txn_op_label(live->txn, &live->txn->branches[call->branch], call->op),
                         result->verdict, result->duration_us);
    }
    if (live->state != LIVE_GONE) {
        result_keep(call, result);
        live_drive(live);
    } else {
        call_free(call);
        if (live->in_flight == 0) {
            live_discard(live);
        }
    }
    engine_announce(engine);
}

/* The payload with the results that it refers to; valid until the next call is made. */
static struct slice payload_of(struct engine *engine, const struct txn *txn,
                               const struct txn_branch *branch)
{
    if (!txn->options.keep_results) {
        return branch->payload;
    }
    buf_clear(&engine->payload);
    payload_expand(&engine->payload, txn, branch->payload);
    return buf_slice(&engine->payload);
}

static int64_t timeout_of(const struct engine *engine, const struct txn *txn,
                          const struct txn_branch *branch)
{
    return branch->request_timeout_ms > 0        ? branch->request_timeout_ms
           : txn->options.request_timeout_ms > 0 ? txn->options.request_timeout_ms
                                                 : engine->conf.request_timeout_ms;
}

/* Those of the transaction and those of the branch; `out` has room for TXN_HEADERS_MAX. */
static size_t headers_of(const struct txn *txn, const struct txn_branch *branch,
                         struct txn_header *out)
{
    size_t count = 0;
    for (size_t i = 0; i < txn->options.header_count && count < TXN_HEADERS_MAX; i++) {
        out[count++] = txn->options.headers[i];
    }
    for (size_t i = 0; i < branch->header_count && count < TXN_HEADERS_MAX; i++) {
        out[count++] = branch->headers[i];
    }
    return count;
}

static void live_call_branch(struct live *live)
{
    struct engine *engine = live->engine;
    struct txn *txn = live->txn;
    struct live_call *record = call_new(live, live->step.branch, live->step.op);
    const struct txn_branch *branch = &txn->branches[record->branch];
    struct txn_header headers[TXN_HEADERS_MAX];
    DL_APPEND(live->calls, record);
    rules_call_begins(txn, record->branch, record->op);
    live->in_flight++;
    bool resumes = record->branch == txn->branch_count && txn->workflow;
    struct branch_call call = {
        .txn = txn,
        .branch = branch,
        .op = resumes ? txn->workflow : txn_op_label(txn, branch, record->op),
        .url = branch->ops[record->op].url,
        .payload = payload_of(engine, txn, branch),
        .headers = headers,
        .header_count = headers_of(txn, branch, headers),
        .timeout_ms = timeout_of(engine, txn, branch),
    };
    engine->env.caller->ops->start(engine->env.caller, &call, on_called, record);
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

/* A submit that must only be told, or must wait for the end. */
static bool is_spectator(const struct live *live, const struct ticket *ticket)
{
    return ticket->kind == TICKET_SUBMIT && !(ticket->starts && live->txn->status == TXN_PREPARED);
}

/* The first request that the rules do not know of. */
static struct ticket *next_request(struct live *live)
{
    struct ticket *ticket = live->tickets;
    while (ticket) {
        if (ticket->state != TICKET_NEW) {
            ticket = ticket->next;
        } else if (is_spectator(live, ticket)) {
            greet_submit(live, ticket);
            ticket = live->tickets; /* the answer may have brought anything: from the start */
        } else if (live_refuses(live, ticket)) {
            ticket = live->tickets;
        } else {
            return ticket;
        }
    }
    return NULL;
}

static enum event_kind event_of(const struct ticket *request)
{
    switch (request->kind) {
    case TICKET_SUBMIT: return EVENT_SUBMIT;
    case TICKET_ABORT: return EVENT_ABORT;
    case TICKET_FINISH: return EVENT_FINISH;
    case TICKET_FORCE_STOP: return EVENT_FORCE_STOP;
    case TICKET_RETRY_NOW:
    case TICKET_UNPARK: return EVENT_RETRY_NOW;
    case TICKET_RESOLVE: return EVENT_RESOLVE;
    case TICKET_PREPARE:
    case TICKET_REGISTER: break;
    }
    unreachable("never at a live transaction");
}

/* What the client brought along with its request belongs to the record from now on. */
static void request_unpack(struct live *live, const struct ticket *request)
{
    struct txn *txn = live->txn;
    if (request->kind == TICKET_SUBMIT && request->delay_ms > 0) {
        txn->options.delay_ms = request->delay_ms;
    }
    if (request->kind == TICKET_FINISH && txn->status == TXN_PREPARED) {
        struct slice result = slice_make(request->result, request->result_len);
        txn->result = arena_copy(&txn->arena, result);
    }
}

static struct event next_event(struct live *live, struct ticket *request, int64_t now_ms)
{
    struct event event = {.kind = EVENT_TICK, .now_ms = now_ms};
    const struct live_call *call = live->results;
    if (call) {
        event.kind = EVENT_CALLED;
        event.branch = call->branch;
        event.op = call->op;
        event.verdict = call->verdict;
        event.text = call->text;
        event.random = call->verdict == CALL_SUCCESS ? 0 : rng_next(&live->engine->rng);
    } else if (request) {
        request_unpack(live, request);
        event.kind = event_of(request);
        event.status = request->told;
        event.text = slice_make(request->text, request->text_len);
        event.branch = request->branch;
        event.op = request->op;
    }
    return event;
}

/* Gives the rules one event. */
static void live_feed(struct live *live, const struct event *event)
{
    enum txn_status before = live->txn->status;
    struct live_call *call = event->kind == EVENT_CALLED ? live->results : NULL;
    if (call) {
        live_note_attempt(live, call);
        DL_DELETE(live->results, call);
    }
    live->step = rules_step(live->txn, &live->engine->limits, event);
    if (live->txn->status != before) {
        live_note_transition(live);
    }
    if (call) {
        if (call->verdict != CALL_SUCCESS && call->verdict != CALL_ONGOING) {
            live_trouble(live, event);
        }
        call_free(call);
    }
    if (live->step.save == SAVE_LAZY) {
        live->lazy_at_ms = min_ms(live->lazy_at_ms, event->now_ms + live->engine->conf.lazy_ms);
    }
}

/* One event, the request's answer included when nothing had to be stored for it. */
static void live_turn(struct live *live, struct ticket *request, int64_t now_ms)
{
    struct event event = next_event(live, request, now_ms);
    if (event.kind == EVENT_RESOLVE || event.kind == EVENT_RETRY_NOW) {
        live_note_operator(live, request);
    }
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

/* Calls whatever can be called now. */
static void live_call_all(struct live *live, int64_t now_ms)
{
    const struct event tick = {.kind = EVENT_TICK, .now_ms = now_ms};
    while (live->step.next == NEXT_CALL && live->step.save != SAVE_FIRST &&
           !live->engine->draining) {
        live_call_branch(live);
        live_feed(live, &tick);
    }
}

/* Nothing must be stored before it: does live->step. */
static void live_perform(struct live *live, int64_t now_ms)
{
    if (live->step.next == NEXT_WAIT) {
        answer_settled(live);
    }
    if (live_may_release(live)) {
        live_save(live);
        return;
    }
    live_call_all(live, now_ms);
    if (live->step.save == SAVE_FIRST || now_ms >= live->lazy_at_ms ||
        now_ms >= live_renew_at(live) || live->note_count >= LIVE_NOTES_SAVE) {
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
        more = live->results || request;
        live_turn(live, request, now_ms);
        /* What is left of the results is looked at once these lines of history are stored. */
    } while (more && live->step.save != SAVE_FIRST && live->note_count < LIVE_NOTES_SAVE);
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
        ticket_attach(ticket, to);
    }
}

/* When the client is asked, unless it comes by itself. */
static int64_t check_back_ms(const struct txn *txn, const struct engine *engine)
{
    if (txn->type == TXN_MSG && txn->options.timeout_to_fail_ms > 0) {
        return txn->options.timeout_to_fail_ms;
    }
    return txn->options.retry_interval_ms > 0 ? txn->options.retry_interval_ms
                                              : engine->conf.retry_interval_ms;
}

void live_clocks_set(struct live *live)
{
    int64_t now_ms = engine_now(live->engine);
    struct txn *txn = live->txn;
    int64_t age_ms = txn->seen_ms > txn->created_ms ? txn->seen_ms - txn->created_ms : 0;
    if (txn->options.timeout_to_fail_ms > 0) {
        txn->run.timeout_at_ms = now_ms + txn->options.timeout_to_fail_ms - age_ms;
    }
    if (txn->status == TXN_PREPARED) {
        txn_check_branch(txn)->ops[OP_ACTION].retry_at_ms =
            now_ms + check_back_ms(txn, live->engine) - age_ms;
    }
    if (txn->status == TXN_SUBMITTED && txn->options.delay_ms > 0) {
        if (txn->start_ms == 0) { /* its owner died before it could store this: see acknowledged */
            txn->start_ms = txn->updated_ms + txn->options.delay_ms;
        }
        txn->run.start_at_ms = now_ms + txn->start_ms - txn->seen_ms;
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
    live_clocks_set(live);
    live->acked_ms = sent_ms;
    live->lease_until_ms = sent_ms + engine->conf.lease_ms;
    live_poke(live);
    return live;
}
