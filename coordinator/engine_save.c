/* What of a live transaction is stored, when, and what the store's answers mean. */
#include "coordinator/engine_impl.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_saved(void *arg, const struct store_result *result);

/* ---- history ---- */

void live_notes_clear(struct live *live)
{
    for (size_t i = 0; i < live->note_count; i++) {
        free(live->notes[i].text);
    }
    live->note_count = 0;
}

static struct live_note *note_add(struct live *live, const char *result, int64_t duration_ms,
                                  struct slice text)
{
    check(live->note_count < LIVE_NOTES_MAX);
    if (live->note_count == live->note_cap) {
        live->note_cap = live->note_cap ? 2 * live->note_cap : 4;
        live->notes = mem_resize(live->notes, live->note_cap * sizeof(struct live_note));
    }
    struct live_note *note = &live->notes[live->note_count++];
    *note = (struct live_note){.result = result, .duration_ms = duration_ms};
    if (text.len > 0) {
        note->text = mem_alloc(LIVE_NOTE_TEXT_MAX + 1);
        slice_printable(text, note->text, LIVE_NOTE_TEXT_MAX + 1);
        note->text_len = slice_str(note->text).len;
    }
    return note;
}

static void op_add(struct live_note *note, struct slice text)
{
    check(note->op_len + text.len <= sizeof(note->op));
    memcpy(note->op + note->op_len, text.ptr, text.len);
    note->op_len += text.len;
}

void live_note_attempt(struct live *live, const struct live_call *call)
{
    const struct txn_branch *branch = &live->txn->branches[call->branch];
    bool well = call->verdict == CALL_SUCCESS;
    struct live_note *note = note_add(live, call_verdict_name(call->verdict), call->duration_ms,
                                      well ? (struct slice){0} : call->text);
    op_add(note, branch->id);
    op_add(note, slice_str("."));
    op_add(note, slice_str(txn_op_label(live->txn, branch, call->op)));
}

void live_note_transition(struct live *live)
{
    struct live_note *note =
        note_add(live, "", 0,
                 live->txn->status == TXN_SUCCEED ? (struct slice){0} : live->txn->rollback_reason);
    op_add(note, slice_str(txn_status_name(live->txn->status)));
}

void live_note_operator(struct live *live, const struct ticket *request)
{
    char text[LIVE_NOTE_TEXT_MAX + 1];
    if (!rules_has_parked(live->txn)) {
        return; /* what waits for a retry would have come by itself */
    }
    if (request->kind != TICKET_RESOLVE) {
        op_add(note_add(live, "", 0, slice_str("by an operator")), slice_str("retry"));
        return;
    }
    snprintf(text, sizeof(text), "%s.%s as succeed: %s", request->branch_id, request->op_name,
             request->text);
    op_add(note_add(live, "", 0, slice_str(text)), slice_str("resolved"));
}

/* "conflict 02.confirm" */
static void note_parked(struct live *live)
{
    char text[LIVE_NOTE_TEXT_MAX + 1];
    const struct txn_branch *branch = &live->txn->branches[live->step.branch];
    if (live->txn->parked_ms == 0) {
        snprintf(text, sizeof(text), "%s %.*s.%s", txn_park_name(branch->ops[live->step.op].parked),
                 SLICE_ARG(branch->id), txn_op_label(live->txn, branch, live->step.op));
        op_add(note_add(live, "", 0, slice_str(text)), slice_str("parked"));
    }
}

/* ---- storing ---- */

static bool somebody_waits_for_end(const struct live *live)
{
    for (const struct ticket *t = live->tickets; t; t = t->next) {
        if (t->kind == TICKET_SUBMIT && t->mode == ENGINE_WAIT_END) {
            return true;
        }
    }
    return false;
}

/* A quarter of the room for live transactions is all that is left. */
static bool is_crowded(const struct engine *engine)
{
    const struct engine_conf *conf = &engine->conf;
    return engine_live_count(engine) >= conf->live_max - conf->live_max / 4 ||
           (conf->live_bytes_max > 0 &&
            engine->live_bytes >= conf->live_bytes_max - conf->live_bytes_max / 4);
}

/* What must be waited for long is left to the store, and all of it when memory runs short: one sick
 * participant shall not fill the table. */
bool live_may_release(const struct live *live)
{
    const struct engine *engine = live->engine;
    if (engine->abandoning) {
        return live->step.next != NEXT_END;
    }
    if (live->txn->run.calls > 0) {
        return false;
    }
    if (live->step.next == NEXT_PARK) {
        return true;
    }
    if (engine->draining) {
        return live->step.next == NEXT_WAIT || live->step.next == NEXT_CALL;
    }
    if (live->step.next != NEXT_WAIT || somebody_waits_for_end(live)) {
        return false;
    }
    return is_crowded(engine) || live->step.until_ms - engine_now(engine) > engine->conf.lease_ms;
}

static struct store_due due_of(const struct live *live, int64_t now_ms)
{
    bool release = live_may_release(live);
    int64_t wait_ms = 0;
    if (live->step.next == NEXT_WAIT) {
        int64_t until = min_ms(live->step.until_ms, live_timeout_at(live));
        wait_ms = min_ms(until > now_ms ? until - now_ms : 0, WAIT_MAX_MS);
    }
    int64_t lease_ms = release ? 0 : live->engine->conf.lease_ms;
    return (struct store_due){
        .in_ms = wait_ms + lease_ms, .release = release, .park = live->step.next == NEXT_PARK};
}

void live_send(struct live *live)
{
    struct store *store = live->engine->env.store;
    struct store_note notes[LIVE_NOTES_MAX];
    for (size_t i = 0; i < live->note_count; i++) {
        const struct live_note *note = &live->notes[i];
        notes[i] = (struct store_note){slice_make(note->op, note->op_len), slice_str(note->result),
                                       note->duration_ms, slice_make(note->text, note->text_len)};
    }
    struct store_update update = {
        .txn = live->txn,
        .expect = live->stored,
        .due = live->due,
        .notes = notes,
        .note_count = live->note_count,
    };
    live->state = LIVE_STORING;
    live->in_flight++;
    live_timer_set(live);
    store->ops->update(store, &update, on_saved, live);
}

void live_save(struct live *live)
{
    live->txn->revision++;
    live->sent_ms = engine_now(live->engine);
    live->due = due_of(live, live->sent_ms);
    if (live->due.park) {
        note_parked(live);
    }
    live->resend_delay_ms = RESEND_FIRST_MS;
    live_send(live);
}

/* The store is there but does not know the record: it went back in time. What is in memory is the
 * truth, as long as nobody else can have been given the same gid and ended it. */
static void live_store_anew(struct live *live)
{
    struct store *store = live->engine->env.store;
    char gid[256];
    log_error("engine", "msg=\"the store lost a transaction; storing it again\" gid=\"%s\"",
              log_text(live->txn->gid, gid, sizeof(gid)));
    live->state = LIVE_STORING;
    live->in_flight++;
    live->due.park = false; /* it is tried once more, and parked then */
    store->ops->create(store, live->txn, live->due, on_saved, live);
}

static void resend_later(struct live *live, const char *why)
{
    int64_t at = engine_now(live->engine) + live->resend_delay_ms;
    if (at >= live->lease_until_ms) {
        log_warn("engine", "msg=\"store did not answer during the whole lease: %s\"", why);
        live_drop(live, "lease over");
        return;
    }
    live->state = LIVE_RESENDING;
    live->resend_at_ms = at;
    live->resend_delay_ms = min_ms(2 * live->resend_delay_ms, RESEND_MAX_MS);
    live_timer_set(live);
}

/* With nothing to call it is submitted and ends in one step. A workflow is never submitted. */
static void tell_submitted(const struct live *live)
{
    const struct engine_observer *observer = &live->engine->env.observer;
    const struct txn *txn = live->txn;
    bool is_submitted =
        txn->status == TXN_SUBMITTED || (txn->status == TXN_SUCCEED && txn->type != TXN_WORKFLOW);
    if (is_submitted && observer->submitted) {
        observer->submitted(observer->arg, txn);
    }
}

static void acknowledged(struct live *live, int64_t store_now_ms)
{
    struct txn *txn = live->txn;
    for (size_t i = 0; i < txn->branch_count; i++) {
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            txn->branches[i].ops[op].dirty = false;
        }
    }
    live_notes_clear(live);
    if (txn->status == TXN_SUBMITTED && txn->options.delay_ms > 0 && txn->start_ms == 0) {
        txn->start_ms = store_now_ms + txn->options.delay_ms;
    }
    txn->updated_ms = store_now_ms;
    if (!live->due.park) {
        txn->parked_ms = 0;
    }
    if (live->stored == TXN_PREPARED) {
        tell_submitted(live);
    }
    live->stored = txn->status;
    live->acked_ms = live->sent_ms;
    live->lease_until_ms = live->sent_ms + live->due.in_ms;
    live->lazy_at_ms = INT64_MAX;
}

/* It is the end, not the store's answer, that it waits for. An abort that came too late has its
 * answer. */
static bool waits_on(const struct ticket *ticket)
{
    return ticket->mode != ENGINE_WAIT_STORED &&
           (ticket->kind == TICKET_SUBMIT || ticket->live->stored == TXN_ABORTING);
}

/* Those whose wish was in the update that the store has just acknowledged. */
void live_answer_applied(struct live *live)
{
    struct ticket *ticket;
    do {
        ticket = live->tickets;
        while (ticket && (ticket->state != TICKET_APPLIED || waits_on(ticket))) {
            ticket = ticket->next;
        }
        if (ticket) {
            ticket_detach(ticket);
            ticket_answer_state(ticket, live->stored, live->txn->rollback_reason);
        }
    } while (ticket);
}

static void saved_ok(struct live *live, int64_t store_now_ms)
{
    acknowledged(live, store_now_ms);
    if (txn_status_is_final(live->stored)) {
        live->txn->finished_ms = store_now_ms;
        live_ended(live);
    } else if (live->due.release) {
        live_released(live);
    } else if (FAULT("engine.after_update_before_call")) {
        live_drop(live, "fault point");
    } else {
        live->state = LIVE_RUNNING;
        live_answer_applied(live);
        live_drive(live);
    }
}

static void saved(struct live *live, const struct store_result *result)
{
    switch (result->status) {
    case STORE_OK: saved_ok(live, result->now_ms); return;
    case STORE_UNKNOWN:
    case STORE_REFUSED: resend_later(live, result->message); return;
    case STORE_NOT_FOUND:
        if (engine_now(live->engine) < live->acked_ms + live->engine->conf.lease_ms) {
            live_store_anew(live);
        } else {
            char gid[256];
            log_error("engine", "msg=\"the store lost a transaction\" gid=\"%s\"",
                      log_text(live->txn->gid, gid, sizeof(gid)));
            live_drop(live, "not in the store");
        }
        return;
    case STORE_FENCED:
    case STORE_EXISTS: live_drop(live, "another owner"); return;
    case STORE_CONFLICT:
    case STORE_NOT_DUE:
    case STORE_FINISHED: break;
    }
    unreachable("no answer to an update");
}

static void on_saved(void *arg, const struct store_result *result)
{
    struct live *live = arg;
    struct engine *engine = live->engine;
    live->in_flight--;
    if (live->state != LIVE_GONE) {
        saved(live, result);
    } else if (live->in_flight == 0) {
        live_discard(live);
    }
    engine_announce(engine);
}

/* ---- creating ---- */

/* The store has another one under this gid. */
static void create_exists(struct live *live, const struct store_result *result)
{
    struct ticket *ticket;
    while ((ticket = live->tickets)) {
        ticket_detach(ticket);
        bool ended = txn_status_is_final(result->state);
        if (ticket->kind == TICKET_SUBMIT && result->type != live->txn->type) {
            ticket_fail_type(ticket, result->type, result->state);
        } else if (ticket->kind == TICKET_SUBMIT && ticket->starts &&
                   result->state == TXN_PREPARED) {
            ticket_take(ticket, live->txn->gid);
        } else if (ticket->kind == TICKET_SUBMIT && !ended && ticket->mode != ENGINE_WAIT_STORED) {
            ticket_look(ticket, live->txn->gid, result->state);
        } else if (ticket->kind == TICKET_SUBMIT || ended) {
            ticket_answer_state(ticket, result->state, result->rollback_reason);
        } else {
            ticket_take(ticket, live->txn->gid);
        }
    }
    live_leave(live);
}

static void create_failed(struct live *live, const struct store_result *result)
{
    struct ticket *ticket;
    while ((ticket = live->tickets)) {
        ticket_detach(ticket);
        ticket_fail(ticket, ERR_UNAVAILABLE, result->message);
    }
    live_leave(live);
}

static void create_ok(struct live *live, int64_t store_now_ms)
{
    live->txn->created_ms = live->txn->seen_ms = store_now_ms;
    acknowledged(live, store_now_ms);
    tell_submitted(live);
    live_clocks_set(live);
    live->state = LIVE_RUNNING;
    for (struct ticket *t = live->tickets; t; t = t->next) {
        ticket_arm(t);
    }
    if (FAULT("engine.after_create_before_call")) {
        live_drop(live, "fault point");
        return;
    }
    live_drive(live);
}

static void created(struct live *live, const struct store_result *result)
{
    switch (result->status) {
    case STORE_OK: create_ok(live, result->now_ms); return;
    case STORE_EXISTS: create_exists(live, result); return;
    case STORE_REFUSED:
    case STORE_UNKNOWN: create_failed(live, result); return;
    case STORE_FENCED:
    case STORE_NOT_FOUND:
    case STORE_CONFLICT:
    case STORE_NOT_DUE:
    case STORE_FINISHED: break;
    }
    unreachable("no answer to a create");
}

static void on_created(void *arg, const struct store_result *result)
{
    struct live *live = arg;
    struct engine *engine = live->engine;
    live->in_flight--;
    if (live->state != LIVE_GONE) {
        created(live, result);
    } else if (live->in_flight == 0) {
        live_discard(live);
    }
    engine_announce(engine);
}

struct live *live_create(struct engine *engine, struct txn *txn)
{
    struct live *live = live_new(engine, txn, LIVE_CREATING);
    live->sent_ms = engine_now(engine);
    live->due = (struct store_due){.in_ms = engine->conf.lease_ms};
    live->in_flight++;
    engine->env.store->ops->create(engine->env.store, txn, live->due, on_created, live);
    return live;
}
