/*
 * A simulator of the coordinator: the real rules and engine, a store in memory, participants with
 * barriers, a virtual clock and a seeded network. One seed is one schedule: the same seed plays the
 * same events in the same order.
 *
 * What can happen: calls and replies lost, twice, late; store operations lost before or after they
 * were applied, applied late, refused; coordinators that crash around any effect, pause, drain,
 * return; two coordinators with expiring leases; participants that refuse, ask for patience or
 * fail; clients that submit twice, abort, force a stop, ask for a retry; clients that prepare, as
 * sim_initiator.h tells; ops that are parked after some failures, and an operator who has them
 * tried again, or does them by hand and says so; a store that goes back by some writes.
 *
 * What must hold at every step (sim_check.c): I1, I2, I3, I5, I7, I8, I9 of docs/architecture.md,
 * order of what is called, one call in flight, effects at most once; and what sim_initiator.h says
 * of what is prepared, sim_outbox.h of messages left in an outbox. In the end, when faults have
 * stopped, every stored transaction has ended, as `succeed` with all actions done and none undone,
 * or as `failed` with all undone (but for a forced stop). What is promised when the store lost
 * acknowledged writes stands in sim_store.c.
 */
#ifndef SIM_H
#define SIM_H

#include "base/check.h"
#include "base/rng.h"
#include "coordinator/engine.h"
#include "sim_break.h"
#include "sim_event.h"
#include "sim_initiator.h"
#include "sim_outbox.h"

#include <stdarg.h>

enum {
    SIM_TXNS_MAX = 3,
    SIM_BRANCHES_MAX = 4,
    SIM_CHECK = SIM_BRANCHES_MAX, /* the check-back, "00", where a branch is told by its index */
    SIM_NODES = 2,
    SIM_URL_SIZE = 32,
    SIM_STORE_TIMEOUT_MS = 1000,
    SIM_STORE_LATE_MS = 4000, /* an operation is applied at most so late */
    SIM_LEASE_MS = 5000,
    SIM_LAZY_MS = 20,
    SIM_RETRY_MAX_MS = 8000,
    SIM_FAULTS_MS = 30000, /* then faults stop */
    SIM_END_MS = 400000,   /* by then all must have ended */
};

struct world;

/* ---- one transaction: what the store has, what participants did, what clients asked ---- */

struct sim_rec {
    bool exists, has_due, doubt;
    bool parked; /* in the parked set; the fields below say why also while somebody owns it */
    int64_t parked_ms;
    enum txn_park parks[SIM_BRANCHES_MAX + 1][TXN_BRANCH_OPS];
    enum txn_status status;
    int64_t epoch, revision, created_ms, updated_ms, finished_ms, attempts, retry_count, due_ms;
    int owner; /* of an incarnation; 0: none */
    enum op_status ops[SIM_BRANCHES_MAX][TXN_BRANCH_OPS];
    size_t branches[SIM_BRANCHES_MAX], branch_count; /* in the order of registration */
};

struct sim_part {           /* one branch at its participant */
    bool done, undone_mark; /* barrier records of action (try) and compensation (cancel) */
    int effects, undos, confirms;
    int refuse_percent;
    bool has_action, has_compensate, has_confirm; /* urls */
    uint8_t after[SIM_BRANCHES_MAX]; /* branches of a concurrent saga that come before */
    size_t after_count;
};

struct sim_txn {
    char gid[16];
    enum txn_type type;
    size_t branch_count;
    char urls[SIM_BRANCHES_MAX][TXN_BRANCH_OPS][SIM_URL_SIZE];
    const char *check_url; /* "" or the check-back */
    struct txn_options options;
    struct sim_rec rec;
    struct sim_part parts[SIM_BRANCHES_MAX];
    int ghost_owner; /* who owns it, kept apart from what the store compares */
    bool acked, abort_asked, force_asked, refused;
    int64_t errors; /* ERROR answers to actions */
    bool hit, lost, tainted, conflict;
    bool from_outbox; /* a msg that no client submits */
    struct sim_change change;
    struct sim_initiator initiator;
};

struct sim_undo { /* one write, for going back */
    struct sim_txn *txn;
    struct sim_rec before;
    int ghost_before;
};

/* ---- a coordinator ---- */

struct sim_node {
    struct world *world;
    struct store store;
    struct caller caller;
    int index;
    int incarnation;       /* unique over all nodes; names the owner */
    struct engine *engine; /* NULL: crashed */
    bool draining;
    bool dying; /* crashes when the present event is over; sends nothing any more */
    int64_t paused_until_ms;
    int64_t clock_offset_ms;
    struct sim_event tick, recover, consume, restart;
};

/* ---- what may go wrong, per thousand ---- */

struct sim_faults {
    int store_lost, store_reply_lost, store_late, store_refused;
    int call_lost, reply_lost, call_twice, call_late;
    int part_error, part_ongoing, part_half; /* half: done, but answers with an error */
    int crash;                               /* at each effect */
    int pause, drain; /* at each round of recovery; drain: an orderly restart */
};

struct sim_ask {
    struct sim_ask *next;
    struct sim_event event;
    struct world *world;
    struct sim_txn *txn;
    int kind;      /* enum ask_kind */
    size_t branch; /* resolve */
    enum txn_op op;
    int tries;
    bool waiting;
};

struct sim_call {
    struct sim_call *next; /* in world->calls, while the engine waits for it */
    struct world *world;
    struct sim_node *node;
    int incarnation;
    struct sim_txn *txn;
    const struct txn *who; /* never looked into */
    size_t branch;
    enum txn_op op, at; /* what it is about; and what is done at its url */
    struct sim_event deliver, twice, done;
    int pending;
    bool completed, reply_lost;
    enum call_verdict verdict;
    call_cb cb;
    void *arg;
};

struct world {
    uint64_t seed;
    struct rng rng;
    bool verbose;
    enum sim_break broken;
    int64_t now_ms;
    uint64_t order; /* ties are broken by who came first */
    struct heap events;
    bool faults_on;
    struct sim_faults faults;
    struct sim_txn txns[SIM_TXNS_MAX];
    size_t txn_count;
    struct sim_node nodes[SIM_NODES];
    int incarnations;
    struct sim_undo *undos;
    size_t undo_count, undo_cap;
    struct sim_ask *asks;
    struct sim_call *calls;
    int trips; /* requests of initiators that wait for an answer */
    struct sim_mail_undo *mail_undos;
    size_t mail_undo_count, mail_undo_cap;
    int64_t entries; /* so many were left */
    struct sim_event loss, mail_loss, calm, round;
    int64_t live_max, park_after;
    bool violated;
    char violation[400];
    int hits, checked_hits, crashes, parkings, left, reread, prepared, vanished,
        committed; /* for the summary; by clients, committed: tcc and xa alone */
};

/* sim_world.c */
void sim_at(struct world *world, struct sim_event *event, int64_t at_ms,
            void (*fn)(struct sim_event *event));
void sim_cancel(struct world *world, struct sim_event *event);
bool sim_chance(struct world *world, int per_thousand); /* false once faults have stopped */
int64_t sim_between(struct world *world, int64_t from, int64_t to); /* both included */
void sim_trace(struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The first violation counts. */
void sim_fail(struct world *world, const char *what, const char *fmt, ...) PRINTF_LIKE(3, 4);
struct sim_txn *sim_txn_find(struct world *world, struct slice gid);
struct slice sim_branch_id(size_t branch, char out[SIM_ID_SIZE]); /* "01", …; SIM_CHECK: "00" */
size_t sim_branch_of(struct slice id);
/* Plays one schedule; false when an invariant did not hold. */
bool sim_run(struct world *world);

/* sim_store.c */
extern const struct store_ops sim_store_ops;
int64_t sim_store_now(const struct world *world);
void sim_store_go_back(struct world *world);
bool sim_knows_abort(const struct sim_rec *rec); /* the decision is stored */

/* sim_net.c: calls and participants */
extern const struct caller_ops sim_caller_ops;
enum call_verdict sim_participate(struct world *world, struct sim_txn *txn, size_t branch,
                                  enum txn_op op);
/* A person does it at the participant. */
enum call_verdict sim_do_by_hand(struct world *world, struct sim_txn *txn, size_t branch,
                                 enum txn_op op);

/* sim_node.c */
void sim_node_start(struct sim_node *node);
void sim_node_stop(struct sim_node *node);
/* Something may be the last thing this coordinator does; true: it is. */
bool sim_node_may_crash(struct sim_node *node);
/* An answer has come for it. False: it is no more. */
bool sim_node_listens(const struct sim_node *node, int incarnation);
/* True: it is paused, and the event comes again later. */
bool sim_node_defers(struct sim_node *node, struct sim_event *event);
/* After anything that entered the engine. */
void sim_node_after(struct sim_node *node);

/* sim_client.c */
struct txn_spec sim_spec_of(const struct sim_txn *txn, struct txn_step *steps);
void sim_clients_plan(struct world *world);
bool sim_clients_are_done(const struct world *world);
void sim_clients_free(struct world *world);

/* sim_check.c */
void check_write(struct world *world, int writer, const struct sim_txn *txn,
                 const struct sim_rec *before);
void check_due(struct world *world, const struct sim_txn *txn, int64_t in_ms);
void check_place(struct world *world, const struct sim_txn *txn);
void check_call(struct world *world, const struct sim_call *call);
void check_part(struct world *world, const struct sim_txn *txn, size_t branch);
void check_entry_gone(struct world *world, const struct sim_txn *txn);
void check_answer(struct world *world, const struct sim_txn *txn,
                  const struct engine_answer *answer);
void check_end(struct world *world);

#endif
