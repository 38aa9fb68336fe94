/* Calls that go wrong, transactions that wait for an operator, and what the operator may ask for.
 */
#include "coordinator/engine_impl.h"

#include "base/mem.h"
#include "coordinator/rules.h"

#include <stdlib.h>
#include <string.h>

/* ---- who is told ---- */

void live_trouble(struct live *live, const struct event *event)
{
    const struct engine_observer *observer = &live->engine->env.observer;
    const struct txn_branch *branch = &live->txn->branches[event->branch];
    const struct txn_op_record *op = &branch->ops[event->op];
    struct engine_trouble trouble = {
        .txn = live->txn,
        .branch = branch,
        .op = event->op,
        .attempts = op->attempts,
        .error = event->text,
    };
    if (op->parked) {
        char text[LIVE_NOTE_TEXT_MAX + 1];
        free(live->error);
        live->error = mem_strdup(slice_printable(event->text, text, sizeof(text)));
    } else if (op->attempts > 0 && observer->troubled) {
        observer->troubled(observer->arg, &trouble);
    }
}

void live_tell_parked(const struct live *live)
{
    const struct engine_observer *observer = &live->engine->env.observer;
    const struct txn_branch *branch = &live->txn->branches[live->step.branch];
    struct engine_trouble trouble = {
        .txn = live->txn,
        .branch = branch,
        .op = live->step.op,
        .parked = branch->ops[live->step.op].parked,
        .attempts = branch->ops[live->step.op].attempts,
        .error = slice_str(live->error),
    };
    if (observer->troubled) {
        observer->troubled(observer->arg, &trouble);
    }
}

/* ---- what an operator asks for ---- */

/* Finds what is to be resolved; ERR_OK when it can be. */
static enum err resolve_find(const struct txn *txn, struct ticket *ticket, struct reason *why)
{
    size_t i = 0;
    while (i <= txn->branch_count && !slice_eq_str(txn->branches[i].id, ticket->branch_id)) {
        i++;
    }
    if (i > txn->branch_count || (i == txn->branch_count && txn_check_url(txn).len == 0)) {
        return reason_set(why, ERR_INVALID, "it has no branch %s", ticket->branch_id);
    }
    const struct txn_branch *branch = &txn->branches[i];
    size_t op = 0;
    while (op < TXN_BRANCH_OPS &&
           (branch->ops[op].url.len == 0 ||
            strcmp(txn_op_label(txn, branch, (enum txn_op)op), ticket->op_name) != 0)) {
        op++;
    }
    if (op == TXN_BRANCH_OPS) {
        return reason_set(why, ERR_INVALID, "branch %s has no op %s", ticket->branch_id,
                          ticket->op_name);
    }
    if (txn->type == TXN_WORKFLOW) {
        return reason_set(why, ERR_CONFLICT, "only its client can say how a workflow ends");
    }
    if (!branch->ops[op].parked) {
        bool done = branch->ops[op].status == OP_SUCCEED || branch->ops[op].status == OP_FAILED;
        return reason_set(why, ERR_CONFLICT, "%s.%s %s", ticket->branch_id, ticket->op_name,
                          done ? "is done already" : "is not parked");
    }
    ticket->branch = i;
    ticket->op = (enum txn_op)op;
    return ERR_OK;
}

bool live_refuses(struct live *live, struct ticket *ticket)
{
    struct reason why;
    enum err err = ERR_OK;
    if (ticket->kind == TICKET_RESOLVE) {
        err = resolve_find(live->txn, ticket, &why);
    } else if (ticket->kind == TICKET_UNPARK && !rules_has_parked(live->txn)) {
        err = reason_set(&why, ERR_CONFLICT, "it is not parked");
    }
    if (err) {
        ticket_detach(ticket);
        ticket->seen = live->stored;
        ticket_fail(ticket, err, why.text);
    }
    return err;
}
