/*
 * Which instance of a service a call goes to, and which instances rest because calls to them
 * failed. Pure: no I/O, the time is an argument.
 *
 *   healthy ──DEAD, or too often DOUBTFUL──▶ resting ──rest over, a call begins──▶ probing
 *      ▲                                      │   ▲                                 │  │
 *      │                                      │   └─ probe failed: twice the rest ──┘  │
 *      └───────── GOOD (of any call) ─────────┴────────────────────────────────────────┘
 *
 * A call that ends SILENT counts as DEAD when nothing at all was answered there while it was open:
 * a frozen process takes connections and calls and says nothing. Even before that, an instance that
 * has been quiet for BREAKER_QUIET_MS gets no calls while another one answers. Of several calls,
 * one that takes long is no silence: the others are answered.
 */
#ifndef COORDINATOR_BALANCER_H
#define COORDINATOR_BALANCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BREAKER_DOUBTS_MAX = 5,
    BREAKER_REST_FIRST_MS = 100,
    BREAKER_REST_MOST_MS = 5000,
    BREAKER_QUIET_MS = 500,
};

/* What a call tells about the instance that it went to. */
enum breaker_news {
    BREAKER_GOOD,     /* it answered, and not with an error */
    BREAKER_NEUTRAL,  /* nothing: the call never left for reasons of our own */
    BREAKER_DOUBTFUL, /* an error as answer */
    BREAKER_SILENT,   /* no answer by the deadline */
    BREAKER_DEAD,     /* it cannot be connected to, or the connection broke */
};

/* One per instance; zeroed: healthy. */
struct breaker {
    int doubts;             /* DOUBTFUL ones since the last GOOD one */
    int64_t rest_ms;        /* length of the present rest; 0: healthy */
    int64_t rests_until_ms; /* counts while rest_ms > 0 */
    bool probing;
    int open;               /* calls */
    int64_t quiet_since_ms; /* since then calls are open, or were silent, and nothing was answered;
                               0: not so */
};
/* Of one call, from breaker_call_begins to breaker_report. */
struct breaker_call {
    bool probe;
    int64_t began_ms;
};

/* True while no call should go there: its rest is not over, or its probe is on its way. */
bool breaker_is_resting(const struct breaker *breaker, int64_t now_ms);
/* True when it owes an answer for so long that others should be called. */
bool breaker_is_quiet(const struct breaker *breaker, int64_t now_ms);
/* A call is about to be sent there; maybe as the probe. */
struct breaker_call breaker_call_begins(struct breaker *breaker, int64_t now_ms);
/* A call has ended. True: a rest begins with it. The random number shortens the rest by up to a
 * quarter: coordinators that have seen the same failure do not probe together. */
bool breaker_report(struct breaker *breaker, enum breaker_news news, struct breaker_call call,
                    int64_t now_ms, uint64_t random);

struct balancer_peer {
    const struct breaker *breaker; /* NULL: never called, healthy */
    int load;                      /* calls in flight or in line */
    bool tried;                    /* by this very call: never picked again */
};

/* The index of the peer that the call goes to: one whose probe is due; else the healthy one with
 * the least load, ties in turn, and a quiet one only when all are quiet; else, when the call has
 * tried none yet, the one whose rest ends first, because an attempt says more than a refusal. -1:
 * none. `turn` moves on with each pick. */
int balancer_pick(const struct balancer_peer *peers, size_t count, int64_t now_ms, unsigned *turn);

#endif
