/*
 * Inside of the client: one server and the connection to it. Two halves: session.c makes and loses
 * the connection, node.c owns the commands. A command is in one of four lines: `waiting` for a
 * connection, `in_flight` (sent, in the order in which replies come), `held` (answered, WAIT is not
 * yet: commit.c), `failed` (complete, its callback is due).
 *
 *   DOWN ──retry──▶ FINDING ──▶ DIALING ──▶ AUTH ──▶ SELECT ──▶ ROLE ──▶ READY ──▶ DRAINING
 *    ▲                 │           │         │         │         │         │           │
 *    └─── back off ────┴───────────┴─────────┴─────────┴─────────┴─────────┴───────────┘
 *
 * Down from everywhere: what is lost, refused, denied or too late. FINDING and ROLE: behind
 * sentinels alone; AUTH and SELECT: when the settings ask for them. DRAINING: the server said
 * READONLY, or the sentinels name another master; down once nothing is in flight any more.
 * node_close leads to CLOSED from each state.
 */
#ifndef REDIS_NODE_H
#define REDIS_NODE_H

#include "base/arena.h"
#include "base/rng.h"
#include "net/dial.h"
#include "redis/command.h"
#include "redis/link.h"
#include "redis/sentinel.h"
#include "redis/value.h"

enum session_state {
    SESSION_DOWN,
    SESSION_FINDING, /* sentinels are asked who is the master */
    SESSION_DIALING,
    SESSION_AUTH,
    SESSION_SELECT,
    SESSION_ROLE, /* whether it is one */
    SESSION_READY,
    SESSION_DRAINING, /* takes the replies of what is in flight, sends nothing more */
    SESSION_CLOSED,
};

struct node {
    struct loop *loop;
    struct redis_conf conf; /* its texts are ours */
    bool is_impatient; /* commands wait for the connection that is being made, not for the next */

    enum session_state state;
    const struct where *sentinels; /* NULL: conf.address is the server */
    size_t sentinel;               /* who is asked first: who answered last */
    char *master;                  /* its address, as they said last; NULL before */
    struct search *search;         /* FINDING; also READY and DRAINING, sometimes */
    struct dial *dial;             /* DIALING */
    struct redis_link *link;       /* AUTH … DRAINING */
    struct loop_timer step_timer;  /* DOWN: the next attempt; DIALING … ROLE: time is up;
                                      READY: the next look at the sentinels */
    unsigned attempts;             /* since the server last did something for us */
    struct rng rng;
    struct reason why; /* of the last failure */

    struct command_pool pool;
    struct command *waiting;
    struct command *in_flight;
    struct command *held;
    struct command *failed;
    size_t pending; /* in the four lines */
    size_t failed_count;
    struct heap deadlines; /* of waiting, in_flight and held */
    struct loop_timer deadline_timer;
    struct loop_task fail_task;
    struct loop_task close_task;

    struct arena held_arena; /* replies of those that are held */
    struct loop_task wait_task;
    bool wait_due; /* a durable command was sent behind the last WAIT */
    bool wait_in_flight;
    bool mark_is_sure;      /* the key that the mark before WAIT names has served a script here */
    struct reason mark_why; /* that mark was refused; "": it was not */

    uint64_t round_trips;
    redis_observer observer;
    void *observer_arg;
    void (*connected)(void *arg);
    void *connected_arg;
};

struct node_conf {
    const char *address;
    const struct where *sentinels; /* NULL, or who knows the address; must outlive the node */
    bool is_impatient; /* what waits when a connection is lost or refused fails: ERR_CONNECT */
};

/* node.c: as redis.h says of the functions of these names */
struct node *node_open(struct loop *loop, const struct redis_conf *conf,
                       const struct node_conf *node_conf);
void node_close(struct node *node);
void node_observe(struct node *node, redis_observer observer, void *arg);
void node_on_connect(struct node *node, void (*fn)(void *arg), void *arg);
void node_command(struct node *node, int64_t deadline_ms, const struct slice *argv, size_t argc,
                  redis_cb cb, void *arg);
/* `is_asking`: ASKING has just been sent; EVAL at once, for behind NOSCRIPT another would have to
 * go. */
void node_eval(struct node *node, int64_t deadline_ms, const struct redis_eval *eval,
               bool is_asking, redis_cb cb, void *arg);
/* Whether what is started now can go out over this connection, or the one that is being made. */
bool node_is_usable(const struct node *node);
bool node_is_idle(const struct node *node); /* nothing is in line or in flight */

/* session.c */
void session_init(struct node *node); /* starts the first attempt */
void session_fini(struct node *node); /* closes; the state is CLOSED then */
/* Gives the connection up and backs off; everything in flight completes with ERR_CLOSED. `err`:
 * what waits completes with it; ERR_OK: it goes on waiting, unless the node is impatient. */
void session_lose(struct node *node, enum err err, const char *why);
/* The server is a replica now: reconnect once everything in flight is answered. */
void session_drain(struct node *node);

/* node.c */
void commands_send_waiting(struct node *node);
void commands_take_reply(struct node *node, const struct redis_value *value);
void commands_drop_in_flight(struct node *node, const char *why);
/* As node_command, but sent now, whatever is pending; only in READY. */
void command_send_now(struct node *node, int64_t deadline_ms, const struct slice *argv, size_t argc,
                      redis_cb cb, void *arg);
/* Everybody in `held` completes: with its reply, or with an error. */
void held_complete(struct node *node, enum err err, const char *message);
/* What waits now will complete with `err` and node->why. */
void commands_refuse_waiting(struct node *node, enum err err);

/* commit.c */
/* The command is about to be written: WAIT will follow when it is durable. */
void commit_expect(struct node *node, const struct command *command);
/* Its reply has come: keeps both until WAIT is answered. It is in no line before. */
void commit_hold(struct node *node, struct command *command, const struct redis_value *value);

#endif
