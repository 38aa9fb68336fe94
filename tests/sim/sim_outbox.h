/*
 * The outbox: messages that exist if and only if the change does that left them. A change is one
 * script of a participant: it is made and leaves its entry, or neither; it is asked for by a
 * client, more than once maybe, or is the action of a saga's branch, behind its barrier.
 * Coordinators read the entries as one consumer group, submit them with the real outbox_entry.c and
 * outbox_item.c, and take over what a reader has not acknowledged for so long.
 *
 * What can happen: reads, acknowledgements and their replies lost or late; readers that crash at
 * any point, pause and go on; a stream that goes back by some writes, changes included.
 *
 * What must hold: no message without its change; no entry leaves the stream before the store has
 * its message; in the end every entry has left, every change that was made has its message, and
 * that has ended with each effect done once. A message may be left of a change that was lost when
 * its store went back, and none of one that the coordinators' store has lost (`lost`).
 */
#ifndef SIM_OUTBOX_H
#define SIM_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct world;
struct sim_node;
struct sim_event;
struct sim_txn;

enum sim_mail { MAIL_NONE, MAIL_WAITS, MAIL_READ, MAIL_GONE };

struct sim_change {  /* of a message: the change that leaves it */
    bool refused;    /* the participant will say no */
    bool made, lost; /* lost: it was made once, and its store went back */
    enum sim_mail mail;
    int64_t entry; /* id in the stream; never used twice */
    int64_t read_ms;
    const struct sim_txn *saga; /* whose first action is the change; NULL: a client asks for it */
};

struct sim_mail_undo { /* one write, for going back */
    struct sim_txn *txn;
    struct sim_change before;
};

void sim_outbox_plan(struct world *world);
void sim_outbox_free(struct world *world);
/* A client asks for the change of this message. */
void sim_outbox_change(struct world *world, struct sim_txn *txn);
/* The first action of a saga was done, in this script. */
void sim_outbox_saga_changed(struct world *world, const struct sim_txn *saga);
/* A coordinator looks into the stream, now and then. */
void sim_outbox_on_consume(struct sim_event *event);

#endif
