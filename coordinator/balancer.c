#include "coordinator/balancer.h"

bool breaker_is_resting(const struct breaker *breaker, int64_t now_ms)
{
    return breaker->rest_ms > 0 && (breaker->probing || now_ms < breaker->rests_until_ms);
}

static bool probe_is_due(const struct breaker *breaker, int64_t now_ms)
{
    return breaker->rest_ms > 0 && !breaker_is_resting(breaker, now_ms);
}

bool breaker_call_begins(struct breaker *breaker, int64_t now_ms)
{
    bool probe = probe_is_due(breaker, now_ms);
    breaker->probing = breaker->probing || probe;
    return probe;
}

static bool rest(struct breaker *breaker, int64_t now_ms)
{
    int64_t next = breaker->rest_ms ? breaker->rest_ms * 2 : BREAKER_REST_FIRST_MS;
    breaker->rest_ms = next < BREAKER_REST_MOST_MS ? next : BREAKER_REST_MOST_MS;
    breaker->rests_until_ms = now_ms + breaker->rest_ms;
    breaker->probing = false;
    return true;
}

bool breaker_report(struct breaker *breaker, enum breaker_news news, bool probe, int64_t now_ms)
{
    bool resting = breaker->rest_ms > 0;
    switch (news) {
    case BREAKER_GOOD: *breaker = (struct breaker){0}; return false;
    case BREAKER_NEUTRAL:
        breaker->probing = breaker->probing && !probe; /* the next call is the probe */
        return false;
    case BREAKER_DOUBTFUL:
        if (resting) { /* old calls that end late tell nothing new */
            return probe && rest(breaker, now_ms);
        }
        breaker->doubts++;
        return breaker->doubts >= BREAKER_DOUBTS_MAX && rest(breaker, now_ms);
    case BREAKER_DEAD: return (probe || !resting) && rest(breaker, now_ms);
    }
    return false;
}

/* ---- picking ---- */

static int least_loaded(const struct balancer_peer *peers, size_t count, int64_t now_ms,
                        unsigned turn)
{
    int best = -1;
    for (size_t i = 0; i < count; i++) {
        size_t at = (turn + i) % count;
        const struct balancer_peer *peer = &peers[at];
        if (peer->tried || (peer->breaker && breaker_is_resting(peer->breaker, now_ms))) {
            continue;
        }
        if (peer->breaker && probe_is_due(peer->breaker, now_ms)) {
            return (int)at;
        }
        if (best < 0 || peer->load < peers[best].load) {
            best = (int)at;
        }
    }
    return best;
}

static int first_to_wake(const struct balancer_peer *peers, size_t count)
{
    int best = -1;
    for (size_t i = 0; i < count; i++) {
        if (peers[i].tried) {
            return -1;
        }
        if (best < 0 || peers[i].breaker->rests_until_ms < peers[best].breaker->rests_until_ms) {
            best = (int)i;
        }
    }
    return best;
}

int balancer_pick(const struct balancer_peer *peers, size_t count, int64_t now_ms, unsigned *turn)
{
    if (count == 0) {
        return -1;
    }
    int picked = least_loaded(peers, count, now_ms, *turn);
    if (picked < 0) {
        picked = first_to_wake(peers, count); /* all of them rest, so all have a breaker */
    }
    if (picked >= 0) {
        *turn = (unsigned)picked + 1;
    }
    return picked;
}
