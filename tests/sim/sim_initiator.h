/*
 * Clients that prepare: an initiator stores its transaction as prepared, does its own part, and
 * then submits, aborts, or is never heard of again.
 *
 *   tcc, xa  it registers each branch, calls its try (first phase) itself, and submits when all of
 *            them succeeded; it aborts when one was refused, or what became of it stays unclear
 *   msg      it makes its own change, and with it the barrier row "00", or cannot make it; then
 *            it submits, or aborts. The check-back asks that row, and bars the change when it is
 *            not there
 *   workflow it does each step at the participant, reports it, and says how it ended; after a step
 *            that failed it undoes. The resume brings it back, or a second one beside it
 *
 * What can happen: each request, call and answer of it is lost, comes twice, late, or to the other
 * coordinator; it thinks for long; it vanishes before any of its moves.
 *
 * What must hold (sim_check_prepared.c): never half, in one tcc or xa no branch is confirmed and
 * another one cancelled; who was told of a commit or an abort is not betrayed; what was registered
 * is known; confirms and cancels in their order; a message is delivered if and only if its change
 * was made; a workflow ends as its client said, and in no other way, with all steps or none.
 */
#ifndef SIM_INITIATOR_H
#define SIM_INITIATOR_H

#include "coordinator/step.h"
#include "sim_event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine_answer;
struct sim_call;
struct sim_txn;
struct world;

enum { SIM_ID_SIZE = 4, SIM_STEPS_MAX = 4, SIM_ACTORS = 2 };

enum sim_move {
    MOVE_PREPARE,
    MOVE_REGISTER,
    MOVE_TRY,    /* at the participant */
    MOVE_CHANGE, /* in its own database */
    MOVE_SUBMIT,
    MOVE_ABORT,
    MOVE_STEP, /* workflow, at the participant */
    MOVE_REPORT,
    MOVE_UNDO, /* at the participant */
    MOVE_FINISH,
    MOVE_STOP, /* nothing more comes of it */
};
extern const char *const sim_move_names[];
enum sim_heard { HEARD_NOTHING, HEARD_YES, HEARD_NO };
enum sim_row { ROW_NONE, ROW_CHANGED, ROW_BARRED };

struct sim_asked { /* what it asks for */
    enum sim_move move;
    size_t branch;
    bool fails; /* so a workflow reports the step, and finishes */
};

struct sim_actor { /* a process of the client's that is at work */
    struct sim_event event;
    struct sim_txn *txn;
    enum sim_move move;
    size_t branch;  /* that it is about */
    bool waits;     /* for an answer to its move; else it thinks */
    int64_t number; /* of its move: answers to an earlier one are no news */
    int tries;
    enum op_status reports[SIM_STEPS_MAX]; /* workflow: what it knows of each step */
    bool fails;                            /* so it will report the step, and finish */
};

struct sim_initiator {
    struct world *world;
    bool plays;                          /* the transaction is prepared first */
    struct sim_actor actors[SIM_ACTORS]; /* the second: of a workflow that was resumed */
    int vanish_percent, abort_percent;   /* before each move; instead of a submit */
    int64_t think_ms;
    bool refuses;     /* the change cannot be made */
    enum sim_row row; /* the change, or what bars it: they are one script */
    bool told_commit, told_abort;
};

/* Is it the client that calls the tries? */
bool sim_client_calls(const struct sim_txn *txn);
bool sim_is_refusable(const struct sim_txn *txn); /* FAILURE of an action or try turns it round */

/* sim_initiator.c: what it does, move by move */
void sim_initiator_plan(struct world *world, struct sim_txn *txn);
void sim_actor_start(struct sim_actor *actor, int64_t at_ms);
void sim_actor_hears(struct sim_actor *actor, enum sim_heard heard);
bool sim_initiator_is_done(const struct sim_txn *txn); /* none is at work */
void sim_initiator_cancel(struct sim_txn *txn);
/* Its own database: the change, and the check-back. */
enum sim_heard sim_initiator_change(struct world *world, struct sim_txn *txn);
bool sim_initiator_check(struct world *world, struct sim_txn *txn);

/* sim_workflow.c: what comes after its move; after a move without an answer */
enum sim_move sim_workflow_after(struct sim_actor *actor, bool yes);
enum sim_move sim_workflow_tired(struct sim_actor *actor);
enum call_verdict sim_workflow_resume(struct world *world, struct sim_txn *txn);

/* sim_trip.c: sends its present move */
void sim_trip_send(struct world *world, struct sim_actor *actor);

/* sim_check_prepared.c */
void check_told(struct world *world, const struct sim_txn *txn);
void check_half(struct world *world, const struct sim_txn *txn);
void check_prepared_call(struct world *world, const struct sim_call *call);
void check_delivered(struct world *world, const struct sim_txn *txn);
void check_prepared_end(struct world *world, const struct sim_txn *txn);
void check_trip(struct world *world, struct sim_txn *txn, const struct sim_asked *asked,
                const struct engine_answer *answer);

#endif
