/*
 * Which instance of a service a call goes to, and which instances rest because calls to them
 * failed. Pure: no I/O, the time is an argument.
 *
 *                DEAD, or DOUBTFUL times in a row
 *   healthy ────────────────────────────────────────▶ resting ──rest over, a call begins──▶ probing
 *      ▲                                                 ▲  probe failed: twice the rest      │ │
 *      └──── GOOD (of any call) ─────────────────────────┴────────────────────────────────────┘ │
 *      └────────────────────────────────────────────────────────────────────────────────────────┘
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
};

/* What a call tells about the instance that it went to. */
enum breaker_news {
    BREAKER_GOOD,     /* it answered, and not with an error */
    BREAKER_NEUTRAL,  /* nothing: the call never left for reasons of our own */
    BREAKER_DOUBTFUL, /* an error as answer, or none by the deadline */
    BREAKER_DEAD,     /* it cannot be connected to, or the connection broke */
};

/* One per instance; zeroed: healthy. */
struct breaker {
    int doubts;             /* DOUBTFUL ones since the last GOOD one */
    int64_t rest_ms;        /* length of the present rest; 0: healthy */
    int64_t rests_until_ms; /* counts while rest_ms > 0 */
    bool probing;
};

/* True while no call should go there: its rest is not over, or its probe is on its way. */
bool breaker_is_resting(const struct breaker *breaker, int64_t now_ms);
/* A call is about to be sent there. True: it is the probe, to be told to breaker_report. */
bool breaker_call_begins(struct breaker *breaker, int64_t now_ms);
/* A call has ended. True: a rest begins with it. */
bool breaker_report(struct breaker *breaker, enum breaker_news news, bool probe, int64_t now_ms);

struct balancer_peer {
    const struct breaker *breaker; /* NULL: never called, healthy */
    int load;                      /* calls in flight or in line */
    bool tried;                    /* by this very call: never picked again */
};

/* The index of the peer that the call goes to: one whose probe is due; else the healthy one with
 * the least load, ties in turn; else, when the call has tried none yet, the one whose rest ends
 * first, because an attempt says more than a refusal. -1: none. `turn` moves on with each pick. */
int balancer_pick(const struct balancer_peer *peers, size_t count, int64_t now_ms, unsigned *turn);

#endif
