/*
 * The store in memory, with the fencing that store.h asks for, and the way to it.
 *
 * What is promised when the store lost acknowledged writes of a transaction (`hit`) is all of that,
 * except (`tainted`) when
 *   - it lost a branch that was registered: only the client knows what it called;
 *   - it lost the whole transaction while nobody held it in memory, so nobody can go on with it;
 *   - a compensation was under way, or was started by a coordinator that had not learned of the
 *     loss, while the store no longer knew of the decision to abort: barriers cannot tell an undo
 *     that comes too late;
 *   - the decision to abort was lost and a step has no compensation, or the decision to commit a
 *     tcc and a branch has no confirm or no cancel: a barrier has no place to remember that the
 *     other one must not be done any more;
 *   - it lost the decision to commit a tcc after a confirm, and then the tcc was cancelled, or the
 *     other way round: the barrier lets only the first of the two happen (`conflict`), and the
 *     transaction is parked;
 *   - it went back to before somebody took the transaction over, and the owner of then is alive, or
 *     there was none: neither knows that somebody else went further.
 */
#include "sim.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STORE_EPOCH_MS = 1000000000 }; /* its clock is not that of the coordinators */

enum op_kind { DO_CREATE, DO_UPDATE, DO_TAKE, DO_REGISTER, DO_LOAD, DO_OVERDUE };
static const char *const kind_names[] = {"create", "update", "take", "register", "load", "overdue"};

/* One operation on its way: what is written is copied when it is sent. */
struct store_op {
    struct world *world;
    struct sim_node *node;
    int incarnation;
    struct sim_event apply, reply;
    int pending;
    bool reply_lost;
    enum op_kind kind;
    struct sim_txn *txn;
    struct sim_rec image; /* what is written */
    size_t branch; /* that is registered; of a workflow: that it reports, and how it came out */
    enum op_status report;
    bool dirty[SIM_BRANCHES_MAX][TXN_BRANCH_OPS];
    enum txn_status expect;
    struct store_due due;
    struct store_take how;
    store_cb cb;
    store_overdue_cb overdue_cb;
    void *arg;
    struct store_result result;
    struct slice gids[SIM_TXNS_MAX];
    size_t gid_count;
};

int64_t sim_store_now(const struct world *world)
{
    return STORE_EPOCH_MS + world->now_ms;
}

static void op_unref(struct store_op *op)
{
    if (--op->pending == 0) {
        txn_free(op->result.txn);
        free(op);
    }
}

/* ---- writes, and going back ---- */

static void remember(struct world *world, struct sim_txn *txn)
{
    if (world->undo_count == world->undo_cap) {
        world->undo_cap = world->undo_cap ? 2 * world->undo_cap : 64;
        world->undos = mem_resize(world->undos, world->undo_cap * sizeof(struct sim_undo));
    }
    world->undos[world->undo_count++] = (struct sim_undo){txn, txn->rec, txn->ghost_owner};
}

static bool has_confirms(const struct sim_txn *txn)
{
    return txn->type == TXN_TCC || txn->type == TXN_XA;
}

/* A branch without an undo, or a confirm, has no barrier record that could bar what comes too late.
 */
static bool lacks_a_way(const struct sim_txn *txn)
{
    for (size_t i = 0; i < txn->branch_count; i++) {
        const struct sim_part *part = &txn->parts[i];
        if ((part->has_action && !part->has_compensate) ||
            (has_confirms(txn) && !(part->has_confirm && part->has_compensate))) {
            return true;
        }
    }
    return false;
}

bool sim_knows_abort(const struct sim_rec *rec)
{
    return rec->exists && (rec->status == TXN_ABORTING || rec->status == TXN_FAILED);
}

static bool owner_is_alive(const struct world *world, int owner)
{
    for (int i = 0; i < SIM_NODES; i++) {
        if (world->nodes[i].incarnation == owner) {
            return true;
        }
    }
    return false;
}

/* See the list above. */
static bool taints(const struct world *world, const struct sim_txn *txn, const struct sim_rec *lost)
{
    const struct sim_rec *now = &txn->rec;
    bool decision_lost = sim_knows_abort(lost) && !sim_knows_abort(now);
    bool take_lost = txn->type != TXN_WORKFLOW && now->exists && now->epoch != lost->epoch &&
                     (now->owner == 0 || owner_is_alive(world, now->owner));
    bool branch_lost = now->branch_count < lost->branch_count;
    bool commit_lost = has_confirms(txn) && lost->status != TXN_PREPARED &&
                       !sim_knows_abort(lost) && now->exists && now->status == TXN_PREPARED;
    return take_lost || branch_lost || ((decision_lost || commit_lost) && lacks_a_way(txn));
}

static void undo_last(struct world *world)
{
    struct sim_undo *undo = &world->undos[--world->undo_count];
    struct sim_txn *txn = undo->txn;
    struct sim_rec lost = txn->rec;
    txn->rec = undo->before;
    txn->ghost_owner = undo->ghost_before;
    txn->hit = true;
    txn->lost = txn->lost || !txn->rec.exists;
    txn->tainted = txn->tainted || taints(world, txn, &lost);
    sim_trace(world, "store loses a write of %s: now %s rev %" PRId64, txn->gid,
              txn->rec.exists ? txn_status_name(txn->rec.status) : "nothing", txn->rec.revision);
}

void sim_store_go_back(struct world *world)
{
    int64_t count = sim_between(world, 1, 6);
    while (count-- > 0 && world->undo_count > 0) {
        undo_last(world);
    }
}

/* ---- what the scripts do ---- */

static void apply_create(struct store_op *op)
{
    struct world *world = op->world;
    struct sim_rec *rec = &op->txn->rec;
    struct sim_rec before = *rec;
    int64_t now = sim_store_now(world);
    if (rec->exists) {
        op->result.status = STORE_EXISTS;
        op->result.state = rec->status;
        op->result.type = op->txn->type;
        return;
    }
    op->result.status = STORE_OK;
    if (world->broken == BREAK_I1_ACK_CREATE && op->node->index == 1) {
        return;
    }
    remember(world, op->txn);
    *rec = op->image;
    rec->exists = true;
    rec->created_ms = rec->created_ms ? rec->created_ms : now;
    rec->updated_ms = now;
    rec->owner = op->due.release ? 0 : op->incarnation;
    op->txn->ghost_owner = rec->owner;
    rec->has_due = !txn_status_is_final(rec->status);
    rec->due_ms = now + op->due.in_ms;
    /* Submitted anew after the store had lost it: the new life knows nothing of the old one. */
    op->txn->tainted = op->txn->tainted || (op->txn->lost && rec->revision == 0);
    check_write(world, op->incarnation, op->txn, &before);
}

static bool is_repeat(const struct store_op *op)
{
    const struct sim_rec *rec = &op->txn->rec;
    bool final = txn_status_is_final(op->image.status);
    int owner = final || op->due.release ? 0 : op->incarnation;
    return rec->epoch == op->image.epoch && rec->revision == op->image.revision &&
           rec->status == op->image.status && rec->owner == owner;
}

static bool is_fenced(const struct store_op *op)
{
    const struct sim_rec *rec = &op->txn->rec;
    if (op->world->broken == BREAK_I3_NO_FENCE) {
        return txn_status_is_final(rec->status);
    }
    return rec->epoch != op->image.epoch || rec->revision != op->image.revision - 1 ||
           rec->status != op->expect || rec->owner != op->incarnation;
}

static void write_image(struct store_op *op)
{
    struct sim_rec *rec = &op->txn->rec;
    int64_t now = sim_store_now(op->world);
    rec->status = op->image.status;
    rec->revision = op->image.revision;
    rec->attempts = op->image.attempts;
    rec->retry_count = op->image.retry_count;
    rec->updated_ms = now;
    for (size_t i = 0; i < SIM_BRANCHES_MAX; i++) {
        for (int k = 0; k < TXN_BRANCH_OPS; k++) {
            if (op->dirty[i][k]) {
                rec->ops[i][k] = op->image.ops[i][k];
            }
        }
    }
    bool final = txn_status_is_final(rec->status);
    rec->owner = final || op->due.release ? 0 : op->incarnation;
    bool park = op->due.park;
    rec->parked = park && op->world->broken != BREAK_I5_LOST_PARK;
    rec->parked_ms = !park ? 0 : op->image.parked_ms > 0 ? op->image.parked_ms : now;
    memcpy(rec->parks, op->image.parks, sizeof(rec->parks));
    op->world->parkings += park;
    rec->has_due = !final && !park && !(op->due.release && op->world->broken == BREAK_I5_NO_DUE);
    rec->due_ms = now + op->due.in_ms;
    rec->finished_ms = final ? now : 0;
}

static void apply_update(struct store_op *op)
{
    struct world *world = op->world;
    struct sim_rec *rec = &op->txn->rec;
    struct sim_rec before = *rec;
    op->result.status = STORE_OK;
    if (!rec->exists) {
        op->result.status = STORE_NOT_FOUND;
    } else if (is_fenced(op)) {
        op->result.status = is_repeat(op) ? STORE_OK : STORE_FENCED;
        op->result.state = rec->status;
    } else {
        remember(world, op->txn);
        write_image(op);
        check_due(world, op->txn, op->due.in_ms);
        check_write(world, op->incarnation, op->txn, &before);
        op->txn->ghost_owner = rec->owner;
    }
}

/* The n-th branch of the record. */
static void branch_read(const struct world *world, const struct sim_txn *from, struct txn *txn,
                        size_t n)
{
    const struct sim_rec *rec = &from->rec;
    bool client_calls = sim_client_calls(from);
    bool reversed = client_calls && world->broken == BREAK_REGISTER_ORDER;
    size_t i = rec->branches[reversed ? rec->branch_count - 1 - n : n];
    struct txn_branch *branch = &txn->branches[n];
    char id[SIM_ID_SIZE];
    branch->id = arena_copy(&txn->arena, sim_branch_id(i, id));
    branch->after = arena_alloc(&txn->arena, SIM_BRANCHES_MAX);
    memcpy(branch->after, from->parts[i].after, SIM_BRANCHES_MAX);
    branch->after_count = from->parts[i].after_count;
    for (int k = 0; k < TXN_BRANCH_OPS; k++) {
        branch->ops[k].url = slice_str(from->urls[i][k]);
        branch->ops[k].status = rec->ops[i][k];
        branch->ops[k].attempts = rec->attempts;
        branch->ops[k].parked = rec->parks[i][k];
    }
    if (client_calls && i == 1 && world->broken == BREAK_REGISTER_CROSSED) {
        branch->ops[OP_CONFIRM].url = slice_str(from->urls[i][OP_UNDO]);
        branch->ops[OP_UNDO].url = slice_str(from->urls[i][OP_CONFIRM]);
    }
}

static struct txn *txn_read(const struct world *world, const struct sim_txn *from)
{
    const struct sim_rec *rec = &from->rec;
    size_t count = from->type == TXN_WORKFLOW ? 0 : rec->branch_count; /* nothing to call */
    struct txn *txn = txn_new_blank(slice_str(from->gid), count);
    txn->status = rec->status;
    txn->epoch = rec->epoch;
    txn->revision = rec->revision;
    txn->created_ms = rec->created_ms;
    txn->updated_ms = rec->updated_ms;
    txn->finished_ms = rec->finished_ms;
    txn->seen_ms = sim_store_now(world);
    txn->released = rec->owner == 0;
    txn->sure = !rec->doubt;
    txn->attempts = rec->attempts;
    txn->retry_count = rec->retry_count;
    txn->parked_ms = rec->parked_ms;
    txn->type = from->type;
    txn->options = from->options;
    for (size_t n = 0; n < count; n++) {
        branch_read(world, from, txn, n);
    }
    txn_set_workflow(txn, slice_str(from->type == TXN_WORKFLOW ? "flow" : ""));
    struct txn_op_record *check = &txn_check_branch(txn)->ops[OP_ACTION];
    check->url = slice_str(from->check_url);
    check->attempts = rec->attempts;
    check->parked = rec->parks[SIM_CHECK][OP_ACTION];
    return txn;
}

/* Nobody is needed while its client calls the tries: see txn_take.lua. */
static bool is_clients(const struct sim_txn *txn, int64_t now)
{
    return sim_client_calls(txn) && txn->rec.status == TXN_PREPARED && txn->rec.owner == 0 &&
           txn->rec.created_ms + txn->options.timeout_to_fail_ms > now;
}

static void apply_take(struct store_op *op)
{
    struct world *world = op->world;
    struct sim_rec *rec = &op->txn->rec;
    int64_t now = sim_store_now(world);
    if (!rec->exists) {
        op->result.status = STORE_NOT_FOUND;
        return;
    }
    if (txn_status_is_final(rec->status)) {
        op->result.status = STORE_FINISHED;
        op->result.txn = txn_read(world, op->txn);
        return;
    }
    if (op->how.which == STORE_TAKE_PREPARED && rec->status != TXN_PREPARED) {
        op->result.status = STORE_EXISTS;
        op->result.state = rec->status;
        return;
    }
    if (op->how.which == STORE_TAKE_PARKED && !rec->parked) {
        op->result.status = STORE_CONFLICT;
        op->result.message = "it is not parked";
        return;
    }
    if (op->how.which == STORE_TAKE_OVERDUE && (rec->has_due ? rec->due_ms > now : rec->parked)) {
        op->result.status = STORE_NOT_DUE;
        return;
    }
    if (op->how.which == STORE_TAKE_OVERDUE && is_clients(op->txn, now)) {
        rec->due_ms = rec->created_ms + op->txn->options.timeout_to_fail_ms;
        op->result.status = STORE_NOT_DUE;
        return;
    }
    remember(world, op->txn);
    rec->doubt = rec->doubt || (rec->owner != 0 && world->broken != BREAK_DOUBT);
    rec->owner = op->incarnation;
    rec->epoch++;
    rec->parked = false;
    rec->has_due = true;
    rec->due_ms = now + op->due.in_ms;
    op->txn->ghost_owner = op->incarnation;
    op->result.status = STORE_OK;
    op->result.txn = txn_read(world, op->txn);
}

static const char *report_conflict(const struct store_op *op)
{
    const struct sim_rec *rec = &op->txn->rec;
    enum op_status known = rec->ops[op->branch][OP_ACTION];
    bool same = known == OP_PREPARED || known == op->report;
    return rec->status != TXN_PREPARED                       ? "it has ended"
           : same || op->world->broken == BREAK_REPORT_TURNS ? NULL
                                                             : "reported otherwise";
}

/* Whoever owns it has read its branches already. */
static const char *register_conflict(const struct store_op *op)
{
    const struct sim_rec *rec = &op->txn->rec;
    if (op->world->broken == BREAK_REGISTER_LATE) {
        return NULL;
    }
    if (op->txn->type == TXN_WORKFLOW) {
        return report_conflict(op);
    }
    return rec->status != TXN_PREPARED ? "it is not prepared"
           : rec->owner != 0           ? "a coordinator drives it now"
                                       : NULL;
}

/* txn_register.lua */
static void apply_register(struct store_op *op)
{
    struct world *world = op->world;
    struct sim_rec *rec = &op->txn->rec;
    const char *conflict = register_conflict(op);
    op->result.status = STORE_OK;
    if (!rec->exists || conflict) {
        op->result.status = rec->exists ? STORE_CONFLICT : STORE_NOT_FOUND;
        op->result.message = conflict;
        return;
    }
    for (size_t n = 0; n < rec->branch_count; n++) {
        if (rec->branches[n] == op->branch) {
            rec->ops[op->branch][OP_ACTION] = op->report;
            return;
        }
    }
    if (world->broken != BREAK_REGISTER_LOST || op->node->index == 0) {
        remember(world, op->txn);
        rec->branches[rec->branch_count++] = op->branch;
        rec->ops[op->branch][OP_ACTION] = op->report;
    }
}

static void apply_load(struct store_op *op)
{
    if (!op->txn->rec.exists) {
        op->result.status = STORE_NOT_FOUND;
        return;
    }
    bool final = txn_status_is_final(op->txn->rec.status);
    op->result.status = final ? STORE_FINISHED : STORE_OK;
    op->result.txn = txn_read(op->world, op->txn);
}

static void apply_overdue(struct store_op *op)
{
    struct world *world = op->world;
    for (size_t i = 0; i < world->txn_count; i++) {
        const struct sim_rec *rec = &world->txns[i].rec;
        if (rec->exists && rec->has_due && rec->due_ms <= sim_store_now(world)) {
            op->gids[op->gid_count++] = slice_str(world->txns[i].gid);
        }
    }
    op->result.status = STORE_OK;
}

static void apply(struct store_op *op)
{
    op->result.now_ms = sim_store_now(op->world);
    switch (op->kind) {
    case DO_CREATE: apply_create(op); break;
    case DO_UPDATE: apply_update(op); break;
    case DO_TAKE: apply_take(op); break;
    case DO_REGISTER: apply_register(op); break;
    case DO_LOAD: apply_load(op); break;
    case DO_OVERDUE: apply_overdue(op); break;
    }
    if (op->txn) {
        check_place(op->world, op->txn);
    }
    sim_trace(op->world, "store: %s %s by %d: status %d, now %s rev %" PRId64 " epoch %" PRId64,
              kind_names[op->kind], op->txn ? op->txn->gid : "", op->incarnation,
              (int)op->result.status, op->txn ? txn_status_name(op->txn->rec.status) : "",
              op->txn ? op->txn->rec.revision : 0, op->txn ? op->txn->rec.epoch : 0);
}

/* ---- the way ---- */

static void answer(struct store_op *op)
{
    if (op->kind == DO_OVERDUE) {
        struct store_overdue overdue = {op->result.status, op->result.now_ms, op->gids,
                                        op->gid_count, 0};
        op->overdue_cb(op->arg, &overdue);
        return;
    }
    struct store_result result = op->result;
    op->result.txn = NULL; /* theirs now */
    op->cb(op->arg, &result);
}

static void on_reply(struct sim_event *event)
{
    struct store_op *op = container_of(event, struct store_op, reply);
    if (sim_node_listens(op->node, op->incarnation)) {
        if (sim_node_defers(op->node, event)) {
            return;
        }
        if (!sim_node_may_crash(op->node)) { /* applied, but it never hears of it */
            answer(op);
        }
        sim_node_after(op->node);
    }
    op_unref(op);
}

static void reply_at(struct store_op *op, int64_t at_ms)
{
    sim_at(op->world, &op->reply, at_ms, on_reply);
}

static void on_apply(struct sim_event *event)
{
    struct store_op *op = container_of(event, struct store_op, apply);
    struct world *world = op->world;
    bool waited_for = op->reply.node.index != 0;
    struct store_result before = op->result;
    apply(op);
    if (waited_for && !op->reply_lost) {
        reply_at(op, world->now_ms + sim_between(world, 0, 5));
    } else { /* they are told UNKNOWN, or were */
        txn_free(op->result.txn);
        op->result = before;
        op->gid_count = 0;
    }
    op_unref(op);
}

/* The store says yes before it has it, and forgets it. */
static bool acks_early(const struct store_op *op)
{
    enum txn_status to = op->image.status;
    enum sim_break broken = op->world->broken;
    if (broken == BREAK_FINISH_EARLY && op->kind == DO_UPDATE && op->txn->type == TXN_WORKFLOW) {
        return txn_status_is_final(to);
    }
    return op->kind == DO_UPDATE &&
           ((broken == BREAK_I2_ACK_EARLY && to == TXN_ABORTING && op->expect == TXN_SUBMITTED) ||
            (broken == BREAK_I2_ACK_COMMIT && to == TXN_SUBMITTED && op->expect == TXN_PREPARED));
}

static void op_send(struct store_op *op)
{
    struct world *world = op->world;
    int64_t now = world->now_ms;
    op->incarnation = op->node->incarnation;
    op->result = (struct store_result){.status = STORE_UNKNOWN, .message = "no answer"};
    op->pending = 1;
    if (sim_node_may_crash(op->node)) { /* the last wish of the dying is not sent */
        reply_at(op, now);
        return;
    }
    reply_at(op, now + SIM_STORE_TIMEOUT_MS);
    if (sim_chance(world, world->faults.store_lost)) {
        return;
    }
    if (acks_early(op) || sim_chance(world, world->faults.store_refused)) {
        bool early = acks_early(op);
        op->result.status = early ? STORE_OK : STORE_REFUSED;
        op->result.message = "refused";
        reply_at(op, now + 1);
        return;
    }
    bool late = sim_chance(world, world->faults.store_late);
    op->reply_lost = sim_chance(world, world->faults.store_reply_lost);
    op->pending = 2;
    int64_t apply_ms =
        now + sim_between(world, 0, 5) + (late ? sim_between(world, 1, SIM_STORE_LATE_MS) : 0);
    sim_at(world, &op->apply, apply_ms, on_apply);
    if (sim_node_may_crash(op->node)) { /* sent, and that was all */
        sim_trace(world, "node %d dies after it sent", op->node->index);
    }
}

static struct store_op *op_new(struct store *store, enum op_kind kind, void *arg)
{
    struct store_op *op = mem_new(struct store_op);
    op->node = container_of(store, struct sim_node, store);
    op->world = op->node->world;
    op->kind = kind;
    op->arg = arg;
    return op;
}

static void image_take(struct store_op *op, const struct txn *txn)
{
    struct sim_rec *image = &op->image;
    image->status = txn->status;
    image->epoch = txn->epoch;
    image->revision = txn->revision;
    image->created_ms = txn->created_ms;
    image->attempts = txn->attempts;
    image->retry_count = txn->retry_count;
    image->parked_ms = txn->parked_ms;
    image->doubt = !txn->sure;
    image->branch_count = txn->branch_count;
    for (size_t n = 0; n <= txn->branch_count; n++) {
        const struct txn_branch *branch = &txn->branches[n];
        size_t i = sim_branch_of(branch->id);
        for (int k = 0; k < TXN_BRANCH_OPS; k++) {
            image->parks[i][k] = op->due.park ? branch->ops[k].parked : PARK_NOT;
        }
        for (int k = 0; i != SIM_CHECK && k < TXN_BRANCH_OPS; k++) {
            image->branches[n] = i;
            image->ops[i][k] = branch->ops[k].status;
            op->dirty[i][k] = branch->ops[k].dirty;
        }
    }
}

static void store_create(struct store *store, const struct txn *txn, struct store_due due,
                         store_cb cb, void *arg)
{
    struct store_op *op = op_new(store, DO_CREATE, arg);
    op->txn = sim_txn_find(op->world, txn->gid);
    op->due = due;
    op->cb = cb;
    image_take(op, txn);
    op_send(op);
}

static void store_update(struct store *store, const struct store_update *update, store_cb cb,
                         void *arg)
{
    struct store_op *op = op_new(store, DO_UPDATE, arg);
    op->txn = sim_txn_find(op->world, update->txn->gid);
    op->due = update->due;
    op->expect = update->expect;
    op->cb = cb;
    image_take(op, update->txn);
    op_send(op);
}

static void store_take(struct store *store, struct slice gid, struct store_take how,
                       struct store_due due, store_cb cb, void *arg)
{
    struct store_op *op = op_new(store, DO_TAKE, arg);
    op->txn = sim_txn_find(op->world, gid);
    op->how = how;
    op->due = due;
    op->cb = cb;
    op_send(op);
}

static void store_add_branch(struct store *store, struct slice gid,
                             const struct store_branch *branch, store_cb cb, void *arg)
{
    struct store_op *op = op_new(store, DO_REGISTER, arg);
    op->txn = sim_txn_find(op->world, gid);
    op->branch = sim_branch_of(branch->id);
    op->report = branch->status;
    op->cb = cb;
    check(branch->type == op->txn->type);
    op_send(op);
}

static void store_load(struct store *store, struct slice gid, store_cb cb, void *arg)
{
    struct store_op *op = op_new(store, DO_LOAD, arg);
    op->txn = sim_txn_find(op->world, gid);
    op->cb = cb;
    op_send(op);
}

static void store_overdue(struct store *store, int partition, int limit, store_overdue_cb cb,
                          void *arg)
{
    struct store_op *op = op_new(store, DO_OVERDUE, arg);
    check(partition == 0 && limit >= SIM_TXNS_MAX);
    op->overdue_cb = cb;
    op_send(op);
}

static int store_partitions(const struct store *store)
{
    (void)store;
    return 1;
}

const struct store_ops sim_store_ops = {
    .create = store_create,
    .update = store_update,
    .take = store_take,
    .add_branch = store_add_branch,
    .load = store_load,
    .overdue = store_overdue,
    .partitions = store_partitions,
};
