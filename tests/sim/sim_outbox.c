/* The outbox, as coordinator/outbox.c consumes it. */
#include "sim.h"

#include "base/mem.h"
#include "coordinator/outbox_entry.h"
#include "coordinator/outbox_item.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SILENCE_MS = SIM_LEASE_MS + SIM_STORE_TIMEOUT_MS, /* as daemon.c sets it */
    LOOK_EVERY_MS = 300,
    HEAD_FIELDS = 8,
    STEP_FIELDS = 4,
};

/* ---- the stream, and going back ---- */

static void remember(struct world *world, struct sim_txn *txn)
{
    if (world->mail_undo_count == world->mail_undo_cap) {
        world->mail_undo_cap = world->mail_undo_cap ? 2 * world->mail_undo_cap : 64;
        world->mail_undos =
            mem_resize(world->mail_undos, world->mail_undo_cap * sizeof(struct sim_mail_undo));
    }
    world->mail_undos[world->mail_undo_count++] = (struct sim_mail_undo){txn, txn->change};
}

/* The change of a saga's branch stays: its barrier record would have to go as well. */
static bool undo_last(struct world *world)
{
    struct sim_mail_undo *undo = &world->mail_undos[world->mail_undo_count - 1];
    struct sim_change *change = &undo->txn->change;
    bool unmade = change->made && !undo->before.made;
    if (unmade && change->saga) {
        return false;
    }
    bool lost = change->lost || unmade;
    *change = undo->before;
    change->lost = lost;
    world->mail_undo_count--;
    sim_trace(world, "outbox: a write is lost, the change of %s %s", undo->txn->gid,
              change->made ? "stays" : "is gone");
    return true;
}

static void on_loss(struct sim_event *event)
{
    struct world *world = container_of(event, struct world, mail_loss);
    int64_t count = sim_between(world, 1, 4);
    while (count-- > 0 && world->mail_undo_count > 0 && undo_last(world)) {
    }
    if (sim_chance(world, 500)) {
        sim_at(world, event, world->now_ms + sim_between(world, 100, 5000), on_loss);
    }
}

void sim_outbox_plan(struct world *world)
{
    if (sim_between(world, 0, 5) == 0) {
        sim_at(world, &world->mail_loss, sim_between(world, 5, 15000), on_loss);
    }
}

void sim_outbox_free(struct world *world)
{
    free(world->mail_undos);
}

/* ---- changes ---- */

static void entry_add(struct world *world, struct sim_txn *txn, bool made)
{
    struct sim_change *change = &txn->change;
    remember(world, txn);
    change->made = made;
    change->entry = ++world->entries;
    world->left++;
    change->mail = MAIL_WAITS;
    sim_trace(world, "participant: the change of %s leaves entry %" PRId64, txn->gid,
              change->entry);
}

void sim_outbox_change(struct world *world, struct sim_txn *txn)
{
    struct sim_change *change = &txn->change;
    if (change->made || sim_chance(world, world->faults.call_lost)) {
        return; /* a repeat leaves no second entry */
    }
    if (!change->refused) {
        entry_add(world, txn, true);
    } else if (world->broken == BREAK_OUTBOX_NOT_ATOMIC && change->mail == MAIL_NONE) {
        entry_add(world, txn, false);
    }
}

void sim_outbox_saga_changed(struct world *world, const struct sim_txn *saga)
{
    for (size_t i = 0; i < world->txn_count; i++) {
        struct sim_change *change = &world->txns[i].change;
        if (change->saga == saga && !change->made) {
            entry_add(world, &world->txns[i], true);
        }
    }
}

/* ---- commands on their way to the stream ---- */

struct letter { /* one entry, as it was read */
    struct sim_txn *txn;
    int64_t entry;
};

struct mail_op {
    struct world *world;
    struct sim_node *node;
    int incarnation;
    struct sim_event apply, reply;
    struct letter letters[SIM_TXNS_MAX]; /* read; or the first one, to be acknowledged */
    size_t count;
};

static void letter_take(struct sim_node *node, const struct letter *letter);

/* Nobody who hears no answer does anything about it: the next look finds what is to be done. */
static void op_send(struct sim_node *node, const struct letter *letter,
                    void (*fn)(struct sim_event *event))
{
    struct world *world = node->world;
    if (sim_node_may_crash(node) || sim_chance(world, world->faults.store_lost)) {
        return;
    }
    struct mail_op *op = mem_new(struct mail_op);
    op->world = world;
    op->node = node;
    op->incarnation = node->incarnation;
    if (letter) {
        op->letters[op->count++] = *letter;
    }
    bool late = sim_chance(world, world->faults.store_late);
    sim_at(world, &op->apply,
           world->now_ms + sim_between(world, 0, 5) +
               (late ? sim_between(world, 1, SIM_STORE_LATE_MS) : 0),
           fn);
    sim_node_may_crash(node); /* sent, and that was all */
}

/* ---- reading ---- */

static void on_read(struct sim_event *event)
{
    struct mail_op *op = container_of(event, struct mail_op, reply);
    struct sim_node *node = op->node;
    if (sim_node_listens(node, op->incarnation)) {
        if (sim_node_defers(node, event)) {
            return;
        }
        for (size_t i = 0; i < op->count && !sim_node_may_crash(node); i++) {
            letter_take(node, &op->letters[i]);
        }
        sim_node_after(node);
    }
    free(op);
}

static bool may_be_read(const struct world *world, const struct sim_change *change)
{
    bool silent = change->mail == MAIL_READ && world->now_ms - change->read_ms >= SILENCE_MS &&
                  world->broken != BREAK_OUTBOX_NO_CLAIM;
    return change->mail == MAIL_WAITS || silent;
}

/* XREADGROUP and outbox_sweep.lua: what is new, and what others keep too long. */
static void on_look_applied(struct sim_event *event)
{
    struct mail_op *op = container_of(event, struct mail_op, apply);
    struct world *world = op->world;
    for (size_t i = 0; i < world->txn_count; i++) {
        struct sim_txn *txn = &world->txns[i];
        if (may_be_read(world, &txn->change)) {
            remember(world, txn);
            world->reread += txn->change.mail == MAIL_READ;
            txn->change.mail = MAIL_READ;
            txn->change.read_ms = world->now_ms;
            op->letters[op->count++] = (struct letter){txn, txn->change.entry};
            sim_trace(world, "outbox: entry %" PRId64 " of %s is read by %d", txn->change.entry,
                      txn->gid, op->incarnation);
        }
    }
    if (sim_chance(world, world->faults.store_reply_lost)) {
        free(op);
    } else {
        sim_at(world, &op->reply, world->now_ms + sim_between(world, 0, 5), on_read);
    }
}

void sim_outbox_on_consume(struct sim_event *event)
{
    struct sim_node *node = container_of(event, struct sim_node, consume);
    struct world *world = node->world;
    if (sim_node_defers(node, event)) {
        return;
    }
    sim_at(world, event, world->now_ms + sim_between(world, 1, LOOK_EVERY_MS),
           sim_outbox_on_consume);
    if (!node->draining) {
        op_send(node, NULL, on_look_applied);
    }
    sim_node_after(node);
}

/* ---- acknowledging ---- */

/* outbox_ack.lua */
static void on_ack_applied(struct sim_event *event)
{
    struct mail_op *op = container_of(event, struct mail_op, apply);
    struct world *world = op->world;
    struct sim_txn *txn = op->letters[0].txn;
    if (txn->change.entry == op->letters[0].entry && txn->change.mail == MAIL_READ) {
        remember(world, txn);
        txn->change.mail = MAIL_GONE;
        sim_trace(world, "outbox: entry %" PRId64 " of %s is gone", txn->change.entry, txn->gid);
        check_entry_gone(world, txn);
    }
    free(op);
}

/* ---- from the stream to the engine ---- */

struct reading {
    struct outbox_item item;
    struct sim_node *node;
    struct letter letter;
};

static void on_settled(void *arg, const struct outbox_verdict *verdict)
{
    struct reading *reading = arg;
    struct world *world = reading->node->world;
    const char *gid = reading->letter.txn->gid;
    switch (verdict->fate) {
    case OUTBOX_STORED: op_send(reading->node, &reading->letter, on_ack_applied); break;
    case OUTBOX_DEAD:
        sim_fail(world, "outbox", "%s is a dead letter: %s", gid, verdict->why);
        break;
    case OUTBOX_REFUSED:
    case OUTBOX_LEFT: sim_trace(world, "outbox: %s stays: %s", gid, verdict->why); break;
    }
    free(reading);
}

/* As lua/barrier/outbox.lua writes it; `interval` is room for a number. */
static size_t fields_make(const struct sim_txn *txn, char interval[24], struct slice *fields)
{
    static const char *const names[SIM_BRANCHES_MAX][2] = {{"01.action", "01.payload"},
                                                           {"02.action", "02.payload"},
                                                           {"03.action", "03.payload"},
                                                           {"04.action", "04.payload"}};
    snprintf(interval, 24, "%" PRId64, txn->options.retry_interval_ms);
    const char *const head[HEAD_FIELDS] = {"gid",
                                           txn->gid,
                                           "trans_type",
                                           "msg",
                                           "retry_interval_ms",
                                           interval,
                                           "concurrent",
                                           txn->options.concurrent ? "1" : "0"};
    size_t count = 0;
    while (count < HEAD_FIELDS) {
        fields[count] = slice_str(head[count]);
        count++;
    }
    for (size_t i = 0; i < txn->branch_count; i++) {
        fields[count++] = slice_str(names[i][0]);
        fields[count++] = slice_str(txn->urls[i][OP_ACTION]);
        fields[count++] = slice_str(names[i][1]);
        fields[count++] = slice_str("");
    }
    return count;
}

static void letter_take(struct sim_node *node, const struct letter *letter)
{
    struct outbox_entry parsed;
    struct reason reason;
    char interval[24];
    struct slice fields[HEAD_FIELDS + STEP_FIELDS * SIM_BRANCHES_MAX];
    size_t count = fields_make(letter->txn, interval, fields);
    struct reading *reading = mem_new(struct reading);
    *reading = (struct reading){{on_settled, reading}, node, *letter};
    if (node->world->broken == BREAK_OUTBOX_ACK_EARLY) {
        op_send(node, letter, on_ack_applied);
    }
    enum err err = outbox_entry_parse(fields, count, &parsed, &reason);
    if (!err) {
        err = outbox_item_submit(&reading->item, node->engine, &parsed.spec, &reason);
    }
    if (err) {
        sim_fail(node->world, "outbox", "%s is no message: %s", letter->txn->gid, reason.text);
        free(reading);
    }
}
