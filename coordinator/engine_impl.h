/*
 * Inside of the engine, shared by its sources and nobody else:
 *
 *   engine.c         the table of live transactions, the timers, limits, the public functions
 *   engine_live.c    the driver of one live transaction: events → rules → store → calls
 *   engine_save.c    what of it is stored and what the store answers
 *   engine_park.c    calls that go wrong, and what waits for an operator
 *   engine_ticket.c  those who wait for an answer: requests, waiting, looking into the store
 */
#ifndef COORDINATOR_ENGINE_IMPL_H
#define COORDINATOR_ENGINE_IMPL_H

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "coordinator/engine.h"

#define uthash_fatal(msg) check_failed(__FILE__, __LINE__, msg)
/* The default one makes clang warn about its switch. */
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>
#include <utlist.h>

enum {
    LIVE_OP_NAME_SIZE = TXN_BRANCH_ID_MAX + 16, /* "100.compensate" */
    LIVE_NOTES_SAVE = 16, /* so many lines of history are stored before more are gathered */
    LIVE_NOTES_MAX = LIVE_NOTES_SAVE + 8,
    LIVE_NOTE_TEXT_MAX = 256, /* bytes */
    POLL_FIRST_MS = 25,
    POLL_MAX_MS = 250,
    RESEND_FIRST_MS = 20,
    RESEND_MAX_MS = 1000,
    WAIT_MAX_MS = 3600 * 1000, /* what waits for nothing in particular is looked at so often */
};

/* ---- those who wait ---- */

enum ticket_kind {
    TICKET_SUBMIT,
    TICKET_ABORT,
    TICKET_FINISH, /* of a workflow, by its client */
    TICKET_FORCE_STOP,
    TICKET_RETRY_NOW,
    TICKET_UNPARK,
    TICKET_RESOLVE,
    TICKET_PREPARE,  /* these two are between the client and the store: */
    TICKET_REGISTER, /* nothing is live */
};

enum ticket_state {
    TICKET_NEW,      /* at a live transaction, not looked at yet */
    TICKET_APPLIED,  /* at a live transaction: its wish is in memory, the store's answer is awaited;
                        a submit: waits for the transaction */
    TICKET_LOOKING,  /* looks into the store now and then */
    TICKET_READY,    /* has its answer, gets it at the next tick */
    TICKET_ANSWERED, /* only a store operation in flight keeps the memory */
};

struct ticket {
    struct ticket *prev, *next; /* in live->tickets or engine->loose */
    struct engine *engine;
    struct live *live;      /* NULL: in engine->loose */
    struct heap_node timer; /* end of the wait or next look, in engine->ticket_timers */
    enum ticket_kind kind;
    enum ticket_state state;
    bool in_store; /* a load or take of its own is in flight */
    engine_cb cb;
    void *arg;
    enum engine_wait_mode mode;
    int64_t end_ms; /* of the wait; INT64_MAX: none */
    int64_t poll_ms;
    int64_t sent_ms;
    char *gid; /* heap; only while it is loose */
    size_t gid_len;
    char *text; /* heap; why a client aborts, its workflow failed, or an operator resolves */
    size_t text_len;
    enum txn_status told; /* FINISH: how it ended */
    char *result;         /* FINISH, heap: what came of it */
    size_t result_len;
    enum txn_type type; /* SUBMIT, FINISH: that it must have; at a live transaction: of this */
    bool starts;        /* SUBMIT: lets a prepared one go on */
    int64_t delay_ms;   /* SUBMIT */
    char *branch_id, *op_name; /* RESOLVE, heap; and what they mean, at a live transaction: */
    size_t branch;
    enum txn_op op;
    struct txn *fresh; /* SUBMIT: to be created when the store does not know it; PREPARE */
    enum err err;      /* of the answer that is ready */
    const char *message;
    enum txn_status seen; /* status when last looked */
};

struct ticket *ticket_new(struct engine *engine, enum ticket_kind kind, engine_cb cb, void *arg);
void ticket_refuse(struct ticket *ticket, enum err err, const char *message); /* at the next tick */
void ticket_refuse_room(struct ticket *ticket); /* the same: there is no room, or soon no engine */
/* Answers now; the ticket is gone afterwards. */
void ticket_answer(struct ticket *ticket, const struct engine_answer *answer);
/* Answers according to the kind of ticket and the state of the transaction. */
void ticket_answer_state(struct ticket *ticket, enum txn_status status, struct slice reason);
void ticket_fail(struct ticket *ticket, enum err err, const char *message);
void ticket_fail_type(struct ticket *ticket, enum txn_type type, enum txn_status status);
void ticket_attach(struct ticket *ticket, struct live *live);
void ticket_join(struct ticket *ticket, struct live *live); /* a submit that is not the first one */
void ticket_detach(struct ticket *ticket);
void ticket_take(struct ticket *ticket, struct slice gid); /* from its owner, then attaches */
/* Stores ticket->fresh as prepared; it belongs to nobody then. */
void ticket_prepare(struct ticket *ticket);
void ticket_register(struct ticket *ticket, struct slice gid, const struct store_branch *branch);
/* Somebody else drives its transaction now: looks for the end in the store. */
void ticket_look(struct ticket *ticket, struct slice gid, enum txn_status seen);
void ticket_arm(struct ticket *ticket); /* sets the timer to the end of the wait */
void ticket_timer_fired(struct ticket *ticket);
void ticket_cancel(struct ticket *ticket); /* engine_free: ERR_CANCELLED, frees in any state */

/* ---- live transactions ---- */

/*
 *            create OK            save            OK
 *  CREATING ──────────► RUNNING ──────► STORING ─────► RUNNING
 *      │                   │             │  ▲ │
 *      │                   │     unclear ▼  │ │ ended, released, fenced
 *      │                   │         RESENDING│
 *      └───────────────────┴─────lease over─┴─┴──► GONE (memory lives while something is in flight)
 *
 * Events reach the rules in RUNNING alone. So there is at most one store operation in flight, and
 * one that must be sent again is the same one.
 */
enum live_state { LIVE_CREATING, LIVE_RUNNING, LIVE_STORING, LIVE_RESENDING, LIVE_GONE };

struct live_note {
    char op[LIVE_OP_NAME_SIZE];
    size_t op_len;
    const char *result;
    int64_t duration_ms;
    char *text; /* heap or NULL */
    size_t text_len;
};

/* A call in flight, or its result that the rules do not know yet. */
struct live_call {
    struct live_call *prev, *next; /* in live->calls, then in live->results; next alone in
                                      engine->idle_calls */
    struct live *live;
    size_t branch;
    enum txn_op op;
    enum call_verdict verdict;
    int64_t duration_ms;
    struct slice text; /* points to held, or to what the callback was given */
    char *held;        /* heap or NULL */
};

struct live {
    UT_hash_handle hh;
    struct live *prev, *next; /* in engine->gone */
    struct engine *engine;
    struct txn *txn;
    int64_t bytes; /* of the transaction, as it came */
    struct heap_node timer;
    enum live_state state;
    int in_flight; /* store operations and calls whose callback names this one */

    struct step step;       /* what the rules want, as of the last event */
    enum txn_status stored; /* status that the store acknowledged last */
    struct store_due due;   /* of the store operation in flight */
    int64_t sent_ms;        /* when it was sent first */
    int64_t acked_ms;       /* when the last acknowledged one was sent */
    int64_t lease_until_ms;
    int64_t lazy_at_ms; /* when unsaved progress is to be stored; INT64_MAX: none */
    int64_t resend_at_ms, resend_delay_ms;

    struct live_call *calls;   /* in flight */
    struct live_call *results; /* in the order in which they came */

    struct live_note *notes;
    size_t note_count, note_cap;
    char *error; /* heap; what the call said after which an op was parked */
    struct ticket *tickets;
};

struct engine {
    struct engine_conf conf;
    struct engine_env env;
    struct step_limits limits;
    struct rng rng;
    struct live *live, *gone;     /* the first: hash by gid */
    int64_t live_bytes;           /* of all of both */
    struct ticket *loose;         /* tickets without a live transaction */
    struct live_call *idle_calls; /* free list */
    struct buf payload;           /* of the call that is being made, when it has references */
    struct heap live_timers, ticket_timers;
    int64_t announced_ms; /* engine_next_ms as the owner knows it */
    void (*wake)(void *arg);
    void *wake_arg;
    bool draining, abandoning;  /* abandoning: out of patience with calls in flight */
    void (*drained)(void *arg); /* NULL: nobody asks, or was told */
    void *drained_arg;
};

int64_t engine_now(const struct engine *engine);
struct live *engine_find(const struct engine *engine, struct slice gid);
/* Tells the owner when the next tick is wanted earlier than it knows. Last thing in every entry. */
void engine_announce(struct engine *engine);

static inline int64_t min_ms(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* engine_live.c: table, timer, driver */

struct live *live_new(struct engine *engine, struct txn *txn, enum live_state state);
/* One whose ownership was acquired by an operation sent at sent_ms. */
struct live *live_adopt(struct engine *engine, struct txn *txn, int64_t sent_ms);
/* The driver: gives the rules what has happened and performs what they want. */
void live_drive(struct live *live);
void live_poke(struct live *live); /* drives at the next tick */
/* The times of txn->run out of those that are stored. The store's clock stood at txn->seen_ms a
 * little while ago: so nothing happens too early. */
void live_clocks_set(struct live *live);
void live_timer_set(struct live *live);
int64_t live_timeout_at(const struct live *live); /* INT64_MAX: it cannot time out any more */
/* Four ways out of the table. The memory stays while a callback may still name it. */
void live_drop(struct live *live, const char *why); /* lost to another coordinator, or soon */
void live_released(struct live *live);              /* given back to the store */
void live_ended(struct live *live);
void live_leave(struct live *live); /* all its tickets are gone */
/* Frees at once, whatever is in flight (engine_free). Has no tickets any more. */
void live_discard(struct live *live);

/* engine_park.c */
void live_trouble(struct live *live, const struct event *event); /* a call went wrong */
void live_tell_parked(const struct live *live);
/* Answers a request that cannot be granted, so that the rules need not hear of it. */
bool live_refuses(struct live *live, struct ticket *ticket);

/* engine_save.c: what is stored, and the store's answers */

struct live *live_create(struct engine *engine, struct txn *txn); /* sends it to the store */
void live_save(struct live *live); /* stores what is in memory; continues with live_drive */
void live_send(struct live *live); /* sends the same update again */
/* Shall it be given back to the store, instead of doing live->step? */
bool live_may_release(const struct live *live);
/* Answers those whose wish is in what the store has acknowledged. */
void live_answer_applied(struct live *live);
void live_note_attempt(struct live *live, const struct live_call *call);
void live_note_transition(struct live *live);
void live_note_operator(struct live *live, const struct ticket *request); /* "retry", "resolved" */
void live_notes_clear(struct live *live);

#endif
