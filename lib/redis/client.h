/*
 * Inside of the client. Two halves: session.c makes and loses the connection, redis.c owns the
 * commands. A command is in one of three lines: `waiting` for a connection, `in_flight` (sent, in
 * the order in which replies come), `failed` (complete, its callback is due).
 *
 *            ┌──────────────── lost, refused, denied: back off ────────────────┐
 *            ▼                                                                 │
 *   DOWN ──retry──▶ DIALING ──▶ AUTH ──▶ SELECT ──▶ READY ──READONLY──▶ DRAINING
 *                               (when wanted)         any ──redis_close──▶ CLOSED
 */
#ifndef REDIS_CLIENT_H
#define REDIS_CLIENT_H

#include "base/rng.h"
#include "net/dial.h"
#include "redis/command.h"
#include "redis/link.h"
#include "redis/value.h"

enum session_state {
    SESSION_DOWN,
    SESSION_DIALING,
    SESSION_AUTH,
    SESSION_SELECT,
    SESSION_READY,
    SESSION_DRAINING, /* takes the replies of what is in flight, sends nothing more */
    SESSION_CLOSED,
};

struct redis {
    struct loop *loop;
    struct redis_conf conf; /* its texts are ours */

    enum session_state state;
    struct dial *dial;            /* DIALING */
    struct redis_link *link;      /* AUTH … DRAINING */
    struct loop_timer step_timer; /* DOWN: the next attempt; DIALING … SELECT: time is up */
    unsigned attempts;            /* since the server last did something for us */
    struct rng rng;
    struct reason why; /* of the last failure */

    struct command_pool pool;
    struct command *waiting;
    struct command *in_flight;
    struct command *failed;
    size_t pending; /* in the three lines */
    size_t failed_count;
    struct heap deadlines; /* of waiting and in_flight */
    struct loop_timer deadline_timer;
    struct loop_task fail_task;
    struct loop_task close_task;

    uint64_t round_trips;
    redis_observer observer;
    void *observer_arg;
    void (*connected)(void *arg);
    void *connected_arg;
};

/* session.c */
void session_init(struct redis *redis); /* starts the first attempt */
void session_fini(struct redis *redis); /* closes; the state is CLOSED then */
/* Gives the connection up and backs off; everything in flight completes with ERR_CLOSED. */
void session_lose(struct redis *redis, const char *why);
/* The server is a replica now: reconnect once everything in flight is answered. */
void session_drain(struct redis *redis);

/* redis.c */
void commands_send_waiting(struct redis *redis);
void commands_take_reply(struct redis *redis, const struct redis_value *value);
void commands_drop_in_flight(struct redis *redis, const char *why);
/* What waits now will complete with `err` and redis->why. */
void commands_refuse_waiting(struct redis *redis, enum err err);

#endif
