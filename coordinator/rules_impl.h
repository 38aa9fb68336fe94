/*
 * What the files of the rules share. rules_next.c: what is called next, by the stage that belongs
 * to the status; rules.c: what an event changes.
 */
#ifndef COORDINATOR_RULES_IMPL_H
#define COORDINATOR_RULES_IMPL_H

#include "coordinator/rules.h"

enum stage_order {
    ORDER_NONE, /* all at once */
    ORDER_FORWARD,
    ORDER_REVERSE,
    ORDER_AFTER,   /* a branch comes after those in its `after` */
    ORDER_AGAINST, /* the other way round */
};

/* What is called in one status. */
struct stage {
    enum txn_op op;
    enum stage_order order;
    bool refusable;       /* FAILURE turns the transaction round */
    enum txn_status then; /* the status once all is done */
};

/* For a status in which branches are called. */
struct stage stage_of(const struct txn *txn);
/* Is the op of this branch done, or need not be done in this stage? */
bool stage_is_done(const struct txn *txn, const struct stage *stage, size_t index);
/* Is everything done that its orders put before this branch? The other orders are kept by the way
 * the branches are gone through. */
bool stage_before_is_done(const struct txn *txn, const struct stage *stage, size_t index);

/* What is next, and whether the status changed on the way there. */
struct step rules_next(struct txn *txn, int64_t now_ms);

void op_finish(struct txn_op_record *op, enum op_status status);
enum step_save status_set(struct txn *txn, enum txn_status status);
void attempts_forget(struct txn *txn);

#endif
