#include "coordinator/balancer.h"

#include "coordinator/retry.h"

bool breaker_is_resting(const struct breaker *breaker, int64_t now_ms)
{
    return breaker->rest_ms > 0 && (breaker->probing || now_ms < breaker->rests_until_ms);
}

static bool probe_is_due(const struct breaker *breaker, int64_t now_ms)
{
    return breaker->rest_ms > 0 && !breaker_is_resting(breaker, now_ms);
}

bool breaker_is_quiet(const struct breaker *breaker, int64_t now_ms)
{
    return breaker->quiet_since_ms > 0 && now_ms - breaker->quiet_since_ms > BREAKER_QUIET_MS;
}

struct breaker_call breaker_call_begins(struct breaker *breaker, int64_t now_ms)
{
    struct breaker_call call = {.probe = probe_is_due(breaker, now_ms), .began_ms = now_ms};
    breaker->probing = breaker->probing || call.probe;
    breaker->open++;
    if (breaker->quiet_since_ms == 0) {
        breaker->quiet_since_ms = now_ms;
    }
    return call;
}

static bool rest(struct breaker *breaker, int64_t now_ms, uint64_t random)
{
    int64_t attempts = breaker->rest_ms > 0; /* twice the last one */
    int64_t base = breaker->rest_ms ? breaker->rest_ms : BREAKER_REST_FIRST_MS;
    breaker->rest_ms = retry_delay_ms(base, BREAKER_REST_MOST_MS, attempts, 0);
    breaker->rests_until_ms =
        now_ms + retry_delay_ms(breaker->rest_ms, BREAKER_REST_MOST_MS, 0, random);
    breaker->probing = false;
    return true;
}

/* Whether it still owes an answer. */
static void quiet_update(struct breaker *breaker, enum breaker_news news, int64_t now_ms)
{
    if (news == BREAKER_GOOD || news == BREAKER_DOUBTFUL) {
        breaker->quiet_since_ms = breaker->open > 0 ? now_ms : 0;
    } else if (news != BREAKER_SILENT && breaker->open == 0) {
        breaker->quiet_since_ms = 0;
    }
}

static bool doubt(struct breaker *breaker, bool probe, int64_t now_ms, uint64_t random)
{
    if (breaker->rest_ms > 0) { /* old calls that end late tell nothing new */
        return probe && rest(breaker, now_ms, random);
    }
    breaker->doubts++;
    return breaker->doubts >= BREAKER_DOUBTS_MAX && rest(breaker, now_ms, random);
}

bool breaker_report(struct breaker *breaker, enum breaker_news news, struct breaker_call call,
                    int64_t now_ms, uint64_t random)
{
    bool was_mute = breaker->quiet_since_ms > 0 && breaker->quiet_since_ms <= call.began_ms;
    breaker->open--;
    quiet_update(breaker, news, now_ms);
    if (news == BREAKER_SILENT) {
        news = was_mute ? BREAKER_DEAD : BREAKER_DOUBTFUL;
    }
    switch (news) {
    case BREAKER_GOOD:
        breaker->doubts = 0;
        breaker->rest_ms = 0;
        breaker->probing = false;
        return false;
    case BREAKER_NEUTRAL:
        breaker->probing = breaker->probing && !call.probe; /* the next call is the probe */
        return false;
    case BREAKER_SILENT:
    case BREAKER_DOUBTFUL: return doubt(breaker, call.probe, now_ms, random);
    case BREAKER_DEAD:
        return (call.probe || breaker->rest_ms == 0) && rest(breaker, now_ms, random);
    }
    return false;
}

/* ---- picking ---- */

static bool is_quiet(const struct balancer_peer *peer, int64_t now_ms)
{
    return peer->breaker && breaker_is_quiet(peer->breaker, now_ms);
}

static bool is_better(const struct balancer_peer *a, const struct balancer_peer *b, int64_t now_ms)
{
    bool a_is_quiet = is_quiet(a, now_ms);
    return a_is_quiet == is_quiet(b, now_ms) ? a->load < b->load : !a_is_quiet;
}

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
        if (best < 0 || is_better(peer, &peers[best], now_ms)) {
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
