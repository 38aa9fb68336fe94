/* The invariants. Each names the one of docs/architecture.md that it stands for. */
#include "sim.h"

#include <inttypes.h>

/* ---- what the store has ---- */

/* I9: why one may turn round. Nothing but these. */
static bool may_turn(const struct world *world, const struct sim_txn *txn)
{
    int64_t age_ms = sim_store_now(world) - txn->rec.created_ms;
    int64_t timeout_ms = txn->options.timeout_to_fail_ms;
    /* The coordinator counts from when it sent the create, or the take. */
    bool timed_out =
        timeout_ms > 0 && txn->type != TXN_MSG && age_ms + SIM_STORE_LATE_MS + 10 >= timeout_ms;
    bool limited = txn->options.retry_limit > 0 && sim_is_refusable(txn);
    bool gave_up = limited && txn->errors > txn->options.retry_limit;
    return txn->refused || txn->abort_asked || txn->force_asked || timed_out || gave_up;
}

/* Every action was done, and none was undone. */
static bool is_whole(const struct sim_txn *txn)
{
    for (size_t i = 0; i < txn->branch_count; i++) {
        const struct sim_part *part = &txn->parts[i];
        if (part->has_action && (part->effects != 1 || part->undos != 0)) {
            return false;
        }
        if (part->has_confirm && part->confirms != 1) {
            return false;
        }
    }
    return true;
}

/* What was done has been undone, as far as there is a way. */
static bool is_undone(const struct sim_txn *txn)
{
    for (size_t i = 0; i < txn->branch_count; i++) {
        const struct sim_part *part = &txn->parts[i];
        if ((part->has_compensate && part->effects != part->undos) || part->confirms > 0) {
            return false;
        }
    }
    return true;
}

static void check_turn(struct world *world, const struct sim_txn *txn, enum txn_status from)
{
    static const bool allowed[5][5] = {
        [TXN_PREPARED] = {true, true, true, true, true}, /* at once when nobody is to confirm */
        [TXN_SUBMITTED] = {false, true, true, true, true},
        [TXN_ABORTING] = {false, false, true, false, true},
    };
    enum txn_status to = txn->rec.status;
    if (!allowed[from][to]) {
        sim_fail(world, "I2", "%s went from %s to %s", txn->gid, txn_status_name(from),
                 txn_status_name(to));
    }
    bool onward = from == TXN_PREPARED || from == TXN_SUBMITTED;
    bool turned = onward && (to == TXN_ABORTING || to == TXN_FAILED);
    bool kept = from == TXN_SUBMITTED && txn->type != TXN_SAGA && !txn->force_asked;
    if (kept && turned) {
        sim_fail(world, "I2", "%s turned round after the decision to commit", txn->gid);
    }
    if (turned && !may_turn(world, txn)) {
        sim_fail(world, "I9", "%s turned round without a reason", txn->gid);
    }
}

static void check_ended(struct world *world, const struct sim_txn *txn)
{
    if (txn->tainted || txn->conflict) {
        return;
    }
    if (txn->rec.status == TXN_SUCCEED && !is_whole(txn)) {
        sim_fail(world, "atomicity", "%s ended as succeed, but not all is done", txn->gid);
    }
    if (txn->rec.status == TXN_FAILED && !txn->force_asked && !is_undone(txn)) {
        sim_fail(world, "atomicity", "%s ended as failed, but not all is undone", txn->gid);
    }
}

/* A message exists only when its change does, or did before its store went back. */
static void check_message(struct world *world, const struct sim_txn *txn)
{
    if (txn->from_outbox && !txn->change.made && !txn->change.lost) {
        sim_fail(world, "outbox", "%s: a message without its change", txn->gid);
    }
}

/* An entry leaves its stream when the store has its message. */
void check_entry_gone(struct world *world, const struct sim_txn *txn)
{
    if (!txn->rec.exists && !txn->hit) {
        sim_fail(world, "outbox", "%s left its stream, the store does not have it", txn->gid);
    }
}

void check_write(struct world *world, int writer, const struct sim_txn *txn,
                 const struct sim_rec *before)
{
    if (before->exists) {
        if (txn->ghost_owner != writer) {
            sim_fail(world, "I3", "%s was changed by owner %d, it belongs to %d", txn->gid, writer,
                     txn->ghost_owner);
        }
        check_turn(world, txn, before->status);
    }
    check_message(world, txn);
    check_told(world, txn);
    check_ended(world, txn);
}

/* I5: somebody looks at it again, and not in the far future. */
void check_due(struct world *world, const struct sim_txn *txn, int64_t in_ms)
{
    if (in_ms < 0 || in_ms > SIM_RETRY_MAX_MS + SIM_LEASE_MS) {
        sim_fail(world, "I5", "%s is due in %" PRId64 " ms", txn->gid, in_ms);
    }
}

/* I5: what is unfinished is in the due set, or parked: never in none, never in both. */
void check_place(struct world *world, const struct sim_txn *txn)
{
    const struct sim_rec *rec = &txn->rec;
    bool open = rec->exists && !txn_status_is_final(rec->status);
    if (rec->exists && rec->has_due + rec->parked != open) {
        sim_fail(world, "I5", "%s is %s, due: %d, parked: %d", txn->gid,
                 txn_status_name(rec->status), rec->has_due, rec->parked);
    }
    if (rec->parked && rec->owner != 0) {
        sim_fail(world, "I5", "%s is parked and has an owner", txn->gid);
    }
}

/* ---- what is called ---- */

/* Only tries, and branches of a concurrent saga or msg, are called side by side; never one twice,
 * and never an undo beside an action. */
static bool may_be_beside(const struct sim_call *call, const struct sim_call *other)
{
    const struct sim_txn *txn = call->txn;
    bool parallel = txn->options.concurrent || (txn->type == TXN_TCC && call->op == OP_ACTION);
    return parallel && call->op == other->op && call->branch != other->branch;
}

static void check_alone(struct world *world, const struct sim_call *call)
{
    for (const struct sim_call *other = world->calls; other; other = other->next) {
        bool own = other->who == call->who && sim_node_listens(other->node, other->incarnation);
        if (own && !may_be_beside(call, other)) {
            sim_fail(world, "order", "%s: a call while another one is in flight", call->txn->gid);
        }
    }
}

/* Must `earlier` be done before `later` begins, and be undone after it? */
static bool comes_before(const struct sim_txn *txn, size_t earlier, size_t later)
{
    const struct sim_part *part = &txn->parts[later];
    for (size_t i = 0; i < part->after_count; i++) {
        if (part->after[i] == earlier) {
            return true;
        }
    }
    return !txn->options.concurrent && earlier < later;
}

static void check_action_order(struct world *world, const struct sim_call *call)
{
    const struct sim_txn *txn = call->txn;
    for (size_t i = 0; txn->type != TXN_TCC && i < txn->branch_count; i++) {
        bool before = comes_before(txn, i, call->branch);
        if (before && txn->parts[i].has_action && !txn->parts[i].done) {
            sim_fail(world, "order", "%s: action %zu before action %zu was done", txn->gid,
                     call->branch + 1, i + 1);
        }
    }
}

static void check_compensation_order(struct world *world, const struct sim_call *call)
{
    const struct sim_txn *txn = call->txn;
    for (size_t i = 0; i < txn->branch_count; i++) {
        const struct sim_part *part = &txn->parts[i];
        bool before = txn->type == TXN_XA ? i < call->branch : comes_before(txn, call->branch, i);
        if (before && part->has_compensate && part->effects > part->undos) {
            sim_fail(world, "order", "%s: compensation %zu before %zu was undone", txn->gid,
                     call->branch + 1, i + 1);
        }
    }
}

/* I2: the decision to commit is stored before the first confirm. */
static void check_confirm(struct world *world, const struct sim_call *call)
{
    enum txn_status status = call->txn->rec.status;
    if (status != TXN_SUBMITTED && status != TXN_SUCCEED && !call->txn->force_asked) {
        sim_fail(world, "I2", "%s: confirm %zu while the store says %s", call->txn->gid,
                 call->branch + 1, txn_status_name(status));
    }
}

void check_call(struct world *world, const struct sim_call *call)
{
    const struct sim_txn *txn = call->txn;
    check_alone(world, call);
    check_prepared_call(world, call);
    if (txn->hit) {
        return;
    }
    if (!txn->rec.exists) {
        sim_fail(world, "I1", "%s: called before it was stored", txn->gid);
    }
    if (call->branch == SIM_CHECK) {
        return;
    }
    if (call->op == OP_ACTION) {
        check_action_order(world, call);
        return;
    }
    if (call->op == OP_CONFIRM) {
        check_confirm(world, call);
        return;
    }
    if (!sim_knows_abort(&txn->rec)) {
        sim_fail(world, "I2", "%s: compensation %zu while the store says %s", txn->gid,
                 call->branch + 1, txn_status_name(txn->rec.status));
    }
    check_compensation_order(world, call);
}

/* I7, I8: at most once each, and nothing is undone that was not done. */
void check_part(struct world *world, const struct sim_txn *txn, size_t branch)
{
    const struct sim_part *part = &txn->parts[branch];
    check_message(world, txn);
    check_delivered(world, txn);
    check_half(world, txn);
    if (part->confirms > 0 && part->undos > 0) {
        sim_fail(world, "I8", "%s branch %zu: confirmed and cancelled", txn->gid, branch + 1);
    }
    if (part->effects > 1 || part->undos > 1 || part->confirms > 1) {
        sim_fail(world, "I8", "%s branch %zu: done %d times, undone %d times", txn->gid, branch + 1,
                 part->effects, part->undos);
    }
    if (part->undos > part->effects) {
        sim_fail(world, "I7", "%s branch %zu: undone without having been done", txn->gid,
                 branch + 1);
    }
    if (part->effects > 0 && part->undone_mark && part->undos == 0) {
        sim_fail(world, "I8", "%s branch %zu: done after its compensation", txn->gid, branch + 1);
    }
}

/* ---- what clients are told ---- */

void check_answer(struct world *world, const struct sim_txn *txn,
                  const struct engine_answer *answer)
{
    if (answer->err != ERR_OK || txn->hit) {
        return;
    }
    if (!txn->rec.exists) {
        sim_fail(world, "I1", "%s was acknowledged, the store does not have it", txn->gid);
    }
    if (txn_status_is_final(answer->status) && txn->rec.status != answer->status) {
        sim_fail(world, "I1", "%s: a client was told %s, the store says %s", txn->gid,
                 txn_status_name(answer->status), txn_status_name(txn->rec.status));
    }
    if (answer->status == TXN_ABORTING && !sim_knows_abort(&txn->rec)) {
        sim_fail(world, "I2", "%s: a client was told aborting, the store says %s", txn->gid,
                 txn_status_name(txn->rec.status));
    }
}

/* ---- the end ---- */

static void check_change_end(struct world *world, const struct sim_txn *txn)
{
    const struct sim_change *change = &txn->change;
    if (change->mail == MAIL_WAITS || change->mail == MAIL_READ) {
        sim_fail(world, "outbox", "%s never left its stream", txn->gid);
    }
    if (change->made && !txn->rec.exists && !txn->lost) {
        sim_fail(world, "outbox", "%s: a change without its message", txn->gid);
    }
}

static void check_txn_end(struct world *world, const struct sim_txn *txn)
{
    check_change_end(world, txn);
    check_prepared_end(world, txn);
    if (!txn->rec.exists) {
        if (txn->acked && !txn->lost) {
            sim_fail(world, "I1", "%s was acknowledged and is gone", txn->gid);
        }
        return;
    }
    if (txn->conflict && txn->rec.parked) {
        return; /* a person decides */
    }
    if (!txn_status_is_final(txn->rec.status)) {
        sim_fail(world, "I5", "%s never ended: %s", txn->gid, txn_status_name(txn->rec.status));
        return;
    }
    check_ended(world, txn);
}

void check_end(struct world *world)
{
    for (size_t i = 0; i < world->txn_count; i++) {
        const struct sim_txn *txn = &world->txns[i];
        check_txn_end(world, txn);
        world->hits += txn->hit;
        world->checked_hits += txn->hit && !txn->tainted && txn->rec.exists;
    }
    if (!world->violated && !sim_clients_are_done(world)) {
        sim_fail(world, "answers", "a client was never answered");
    }
}
