#include "coordinator/engine_impl.h"

#include "base/mem.h"

#include <stdlib.h>

/* ---- memory ---- */

struct ticket *ticket_new(struct engine *engine, enum ticket_kind kind, engine_cb cb, void *arg)
{
    struct ticket *ticket = mem_new(struct ticket);
    ticket->engine = engine;
    ticket->kind = kind;
    ticket->cb = cb;
    ticket->arg = arg;
    ticket->end_ms = INT64_MAX;
    DL_APPEND(engine->loose, ticket);
    return ticket;
}

static void ticket_free(struct ticket *ticket)
{
    check(!ticket->live);
    DL_DELETE(ticket->engine->loose, ticket);
    heap_remove(&ticket->engine->ticket_timers, &ticket->timer);
    free(ticket->gid);
    free(ticket->text);
    free(ticket->result);
    free(ticket->branch_id);
    free(ticket->op_name);
    txn_free(ticket->fresh);
    free(ticket);
}

static void timer_set(struct ticket *ticket, int64_t at_ms)
{
    heap_set(&ticket->engine->ticket_timers, &ticket->timer, at_ms);
}

static struct slice ticket_gid(const struct ticket *ticket)
{
    return slice_make(ticket->gid, ticket->gid_len);
}

static void gid_keep(struct ticket *ticket, struct slice gid)
{
    if (!ticket->gid) {
        ticket->gid = slice_dup(gid);
        ticket->gid_len = gid.len;
    }
}

/* ---- answers ---- */

void ticket_answer(struct ticket *ticket, const struct engine_answer *answer)
{
    check(!ticket->live && ticket->state != TICKET_ANSWERED);
    ticket->state = TICKET_ANSWERED;
    heap_remove(&ticket->engine->ticket_timers, &ticket->timer);
    ticket->cb(ticket->arg, answer);
    if (!ticket->in_store) {
        ticket_free(ticket);
    }
}

void ticket_fail(struct ticket *ticket, enum err err, const char *message)
{
    struct engine_answer answer = {.err = err, .status = ticket->seen, .message = message};
    ticket_answer(ticket, &answer);
}

/* In the words of txn_take.lua. */
static const char *other_type(enum txn_type type)
{
    switch (type) {
    case TXN_SAGA: return "trans_type is 'saga'";
    case TXN_TCC: return "trans_type is 'tcc'";
    case TXN_MSG: return "trans_type is 'msg'";
    case TXN_XA: return "trans_type is 'xa'";
    case TXN_WORKFLOW: return "trans_type is 'workflow'";
    }
    unreachable("type");
}

void ticket_fail_type(struct ticket *ticket, enum txn_type type, enum txn_status status)
{
    ticket->seen = status;
    ticket_fail(ticket, ERR_CONFLICT, other_type(type));
}

/* What a request that was not carried out gets from a transaction in this state. */
static const char *conflict_with(const struct ticket *ticket, enum txn_status status)
{
    bool done = ticket->state == TICKET_APPLIED;
    switch (ticket->kind) {
    case TICKET_SUBMIT:
    case TICKET_REGISTER: return NULL;
    case TICKET_PREPARE: return status != TXN_PREPARED ? "it is not prepared any more" : NULL;
    case TICKET_ABORT:
        return status == TXN_SUCCEED ? "it has succeeded already"
               : status == TXN_ABORTING || status == TXN_FAILED
                   ? NULL
                   : "it cannot be aborted in its present state";
    case TICKET_FINISH:
        return status == ticket->told        ? NULL
               : txn_status_is_final(status) ? "it has ended otherwise"
                                             : "it is no workflow";
    case TICKET_FORCE_STOP:
    case TICKET_RETRY_NOW:
    case TICKET_UNPARK:
    case TICKET_RESOLVE: break;
    }
    return txn_status_is_final(status) && !done ? "it has ended already" : NULL;
}

void ticket_answer_state(struct ticket *ticket, enum txn_status status, struct slice reason)
{
    const char *conflict = conflict_with(ticket, status);
    struct engine_answer answer = {
        .err = conflict ? ERR_CONFLICT : ERR_OK,
        .status = status,
        .type = ticket->type,
        .rollback_reason = reason,
        .message = conflict ? conflict : "",
    };
    ticket_answer(ticket, &answer);
}

void ticket_refuse(struct ticket *ticket, enum err err, const char *message)
{
    ticket->state = TICKET_READY;
    ticket->err = err;
    ticket->message = message;
    timer_set(ticket, engine_now(ticket->engine));
}

void ticket_refuse_room(struct ticket *ticket)
{
    ticket_refuse(ticket, ERR_BUSY,
                  ticket->engine->draining ? "shutting down" : "too many transactions in progress");
}

void ticket_cancel(struct ticket *ticket)
{
    if (ticket->live) {
        ticket_detach(ticket);
    }
    ticket->in_store = false; /* nothing completes any more */
    if (ticket->state == TICKET_ANSWERED) {
        ticket_free(ticket);
    } else {
        ticket_fail(ticket, ERR_CANCELLED, "shutting down");
    }
}

/* ---- at a live transaction ---- */

void ticket_arm(struct ticket *ticket)
{
    if (ticket->kind == TICKET_SUBMIT && ticket->end_ms != INT64_MAX) {
        timer_set(ticket, ticket->end_ms);
    }
}

void ticket_attach(struct ticket *ticket, struct live *live)
{
    DL_DELETE(ticket->engine->loose, ticket);
    DL_APPEND(live->tickets, ticket);
    ticket->live = live;
    ticket->type = live->txn->type;
    ticket->state = TICKET_NEW;
    if (live->state != LIVE_CREATING) { /* else when it is created: nobody knows its state yet */
        ticket_arm(ticket);
    }
}

void ticket_join(struct ticket *ticket, struct live *live)
{
    if (live->txn->type != ticket->type) {
        ticket_refuse(ticket, ERR_CONFLICT, other_type(live->txn->type));
        return;
    }
    ticket_attach(ticket, live);
    live_poke(live);
}

void ticket_detach(struct ticket *ticket)
{
    DL_DELETE(ticket->live->tickets, ticket);
    DL_APPEND(ticket->engine->loose, ticket);
    ticket->live = NULL;
    heap_remove(&ticket->engine->ticket_timers, &ticket->timer);
}

/* ---- looking into the store ---- */

static void look_again(struct ticket *ticket)
{
    int64_t at_ms = engine_now(ticket->engine) + ticket->poll_ms;
    ticket->poll_ms = 2 * ticket->poll_ms < POLL_MAX_MS ? 2 * ticket->poll_ms : POLL_MAX_MS;
    timer_set(ticket, at_ms < ticket->end_ms ? at_ms : ticket->end_ms);
}

static void looked_at(struct ticket *ticket, const struct txn *txn)
{
    bool settled = ticket->mode == ENGINE_WAIT_SETTLE && (txn->released || txn->attempts > 0);
    ticket->seen = txn->status;
    if (txn_status_is_final(txn->status) || settled) {
        ticket_answer_state(ticket, txn->status, txn->rollback_reason);
    } else {
        look_again(ticket);
    }
}

static void on_looked(void *arg, const struct store_result *result)
{
    struct ticket *ticket = arg;
    struct engine *engine = ticket->engine;
    ticket->in_store = false;
    if (ticket->state == TICKET_ANSWERED) {
        ticket_free(ticket);
    } else if (result->txn) {
        looked_at(ticket, result->txn);
    } else if (result->status == STORE_NOT_FOUND) {
        ticket_fail(ticket, ERR_UNAVAILABLE, "the store has lost it: submit it again, same gid");
    } else {
        look_again(ticket);
    }
    txn_free(result->txn);
    engine_announce(engine);
}

static void look_now(struct ticket *ticket)
{
    struct store *store = ticket->engine->env.store;
    struct live *live = engine_find(ticket->engine, ticket_gid(ticket));
    if (live) { /* it has come (back) to this coordinator */
        ticket_attach(ticket, live);
        live_poke(live);
        return;
    }
    ticket->in_store = true;
    ticket_arm(ticket);
    store->ops->load(store, ticket_gid(ticket), on_looked, ticket);
}

void ticket_look(struct ticket *ticket, struct slice gid, enum txn_status seen)
{
    if (ticket->mode == ENGINE_WAIT_STORED) {
        ticket_answer_state(ticket, seen, (struct slice){0});
        return;
    }
    gid_keep(ticket, gid);
    ticket->state = TICKET_LOOKING;
    ticket->seen = seen;
    ticket->poll_ms = POLL_FIRST_MS;
    if (ticket->end_ms == INT64_MAX) {
        /* Whether the other owner must wait cannot always be seen; after a lease somebody else
         * would have taken it over. */
        ticket->end_ms = engine_now(ticket->engine) + ticket->engine->conf.lease_ms;
    }
    look_again(ticket);
}

/* ---- taking a transaction over ---- */

/* A msg may be submitted without having been prepared. */
static void take_found_nothing(struct ticket *ticket)
{
    struct engine *engine = ticket->engine;
    struct txn *fresh = ticket->fresh;
    struct live *live = fresh ? engine_find(engine, fresh->gid) : NULL;
    if (live) { /* another submit of this gid was asked for at the same time, and was faster */
        ticket_join(ticket, live);
    } else if (!fresh || fresh->type != TXN_MSG || fresh->branch_count == 0) {
        ticket_fail(ticket, ERR_NOT_FOUND,
                    fresh ? "no such transaction; it must be prepared first"
                          : "no such transaction");
    } else if (!engine_has_room(engine)) {
        ticket_refuse_room(ticket);
    } else {
        ticket->fresh = NULL;
        ticket_attach(ticket, live_create(engine, fresh));
    }
}

/* The others are for transactions of any type, in any state. */
static bool wants_type(const struct ticket *ticket)
{
    return ticket->kind == TICKET_SUBMIT || ticket->kind == TICKET_FINISH;
}

static void take_found_end(struct ticket *ticket, const struct txn *txn)
{
    if (wants_type(ticket) && txn->type != ticket->type) {
        ticket_fail_type(ticket, txn->type, txn->status);
        return;
    }
    ticket->type = txn->type;
    ticket_answer_state(ticket, txn->status, txn->rollback_reason);
}

/* A submit that is not the first one: whoever drives it goes on. */
static void take_found_started(struct ticket *ticket, const struct store_result *result)
{
    ticket_look(ticket, ticket_gid(ticket), result->state);
}

static void taken(struct ticket *ticket, const struct store_result *result)
{
    struct engine *engine = ticket->engine;
    switch (result->status) {
    case STORE_OK:
        ticket_attach(ticket, live_adopt(engine, result->txn, ticket->sent_ms));
        live_poke(ticket->live);
        return;
    case STORE_FINISHED:
        take_found_end(ticket, result->txn);
        txn_free(result->txn);
        return;
    case STORE_EXISTS: take_found_started(ticket, result); return;
    case STORE_NOT_FOUND: take_found_nothing(ticket); return;
    case STORE_CONFLICT: ticket_fail(ticket, ERR_CONFLICT, result->message); return;
    case STORE_REFUSED:
    case STORE_UNKNOWN: ticket_fail(ticket, ERR_UNAVAILABLE, result->message); return;
    case STORE_FENCED:
    case STORE_NOT_DUE: break;
    }
    unreachable("no answer to such a take");
}

static void on_taken(void *arg, const struct store_result *result)
{
    struct ticket *ticket = arg;
    struct engine *engine = ticket->engine;
    ticket->in_store = false;
    taken(ticket, result);
    engine_announce(engine);
}

void ticket_take(struct ticket *ticket, struct slice gid)
{
    struct engine *engine = ticket->engine;
    if (!engine_has_room(engine)) {
        ticket_refuse_room(ticket);
        return;
    }
    gid_keep(ticket, gid);
    ticket->state = TICKET_NEW;
    ticket->in_store = true;
    ticket->sent_ms = engine_now(engine);
    struct store_due due = {.in_ms = engine->conf.lease_ms};
    struct store_take how = {.which = STORE_TAKE_ANY};
    if (ticket->kind == TICKET_UNPARK || ticket->kind == TICKET_RESOLVE) {
        how.which = STORE_TAKE_PARKED;
    } else if (wants_type(ticket)) {
        how = (struct store_take){STORE_TAKE_PREPARED, ticket->type};
    }
    engine->env.store->ops->take(engine->env.store, ticket_gid(ticket), how, due, on_taken, ticket);
}

/* ---- timers ---- */

void ticket_timer_fired(struct ticket *ticket)
{
    heap_remove(&ticket->engine->ticket_timers, &ticket->timer);
    if (ticket->state == TICKET_READY) {
        ticket_fail(ticket, ticket->err, ticket->message);
        return;
    }
    bool over = engine_now(ticket->engine) >= ticket->end_ms;
    struct live *live = ticket->live;
    if (over && live) {
        ticket_detach(ticket);
        ticket_answer_state(ticket, live->stored, live->txn->rollback_reason);
        live_poke(live); /* it may be left to the store now */
    } else if (over) {
        ticket_answer_state(ticket, ticket->seen, (struct slice){0});
    } else {
        look_now(ticket);
    }
}

/* ---- between the client and the store ---- */

static void prepare_exists(struct ticket *ticket, const struct store_result *result)
{
    if (result->type != ticket->fresh->type) {
        ticket_fail_type(ticket, result->type, result->state);
    } else {
        ticket_answer_state(ticket, result->state, result->rollback_reason);
    }
}

/* Both answer with the state that the store tells, or with its error. */
static void stored(struct ticket *ticket, const struct store_result *result)
{
    switch (result->status) {
    case STORE_OK: ticket_answer_state(ticket, TXN_PREPARED, (struct slice){0}); return;
    case STORE_EXISTS: prepare_exists(ticket, result); return;
    case STORE_NOT_FOUND: ticket_fail(ticket, ERR_NOT_FOUND, "no such transaction"); return;
    case STORE_CONFLICT: ticket_fail(ticket, ERR_CONFLICT, result->message); return;
    case STORE_REFUSED:
    case STORE_UNKNOWN: ticket_fail(ticket, ERR_UNAVAILABLE, result->message); return;
    case STORE_FENCED:
    case STORE_FINISHED:
    case STORE_NOT_DUE: break;
    }
    unreachable("no answer to a create or a branch");
}

static void on_stored(void *arg, const struct store_result *result)
{
    struct ticket *ticket = arg;
    struct engine *engine = ticket->engine;
    ticket->in_store = false;
    stored(ticket, result);
    engine_announce(engine);
}

void ticket_prepare(struct ticket *ticket)
{
    struct engine *engine = ticket->engine;
    struct txn *txn = ticket->fresh;
    int64_t wait_ms = txn->options.timeout_to_fail_ms;
    if (txn->type == TXN_WORKFLOW || wait_ms == 0) {
        wait_ms = txn->options.retry_interval_ms > 0 ? txn->options.retry_interval_ms
                                                     : engine->conf.retry_interval_ms;
    }
    struct store_due due = {.in_ms = wait_ms, .release = true};
    ticket->in_store = true;
    engine->env.store->ops->create(engine->env.store, txn, due, on_stored, ticket);
}

void ticket_register(struct ticket *ticket, struct slice gid, const struct store_branch *branch)
{
    struct store *store = ticket->engine->env.store;
    ticket->in_store = true;
    store->ops->add_branch(store, gid, branch, on_stored, ticket);
}
