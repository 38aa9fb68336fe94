#include "redis/cluster.h"

#include "base/check.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    ANY_SLOT = -1,
    HOPS_MAX = 2, /* MOVED and ASK that are followed at once; then a pause */
    PAUSE_MIN_MS = 20,
    PAUSE_DOUBLINGS = 4,
    LAST_MS = 50, /* before its deadline what was refused is not sent again */
};

/* One command, kept until it is answered for good. */
struct call {
    struct call *prev, *next; /* utlist: strays, failed */
    struct cluster *cluster;
    struct member *member; /* that has it */
    redis_cb cb;
    void *arg;
    int64_t queued_us, deadline_ms;
    int64_t retry_ms;    /* stray: not before; 0: as soon as there is a node for it */
    unsigned refusals;   /* by how many pauses it was delayed */
    unsigned hops;       /* MOVED and ASK that it has followed since then */
    char *refusal;       /* what the cluster said last; NULL: it was never refused */
    enum err err;        /* failed: with what */
    const char *message; /* failed */
    int slot;
    struct redis_eval eval; /* script NULL: not a script call */
    size_t argc;
    struct slice argv[]; /* script: keys, then arguments; their bytes stand behind it */
};

/* ---- the end of a call ---- */

static void call_free(struct call *call)
{
    call->cluster->pending--;
    free(call->refusal);
    free(call);
}

static void call_complete(struct call *call, const struct redis_result *from)
{
    struct cluster *cluster = call->cluster;
    struct redis_result result = *from;
    result.elapsed_us = loop_now_us(cluster->loop) - call->queued_us;
    if (cluster->observer) {
        cluster->observer(cluster->observer_arg, &result);
    }
    if (call->cb) {
        call->cb(call->arg, &result);
    }
    call_free(call);
}

static void call_complete_err(struct call *call, enum err err, const char *message)
{
    struct redis_result result = {.err = err, .message = message};
    call_complete(call, &result);
}

static void on_fail_task(void *arg)
{
    struct cluster *cluster = arg;
    struct call *failed = cluster->failed;
    cluster->failed = NULL; /* one that is started anew must not keep us here */
    while (failed) {
        struct call *call = failed;
        DL_DELETE(failed, call);
        call_complete_err(call, cluster->closed ? ERR_CANCELLED : call->err, call->message);
    }
}

/* Completes the call, which is nowhere, when the present callbacks are over. */
static void call_fail_later(struct call *call, enum err err, const char *message)
{
    struct cluster *cluster = call->cluster;
    call->err = err;
    call->message = message;
    DL_APPEND(cluster->failed, call);
    loop_defer(cluster->loop, &cluster->fail_task, on_fail_task, cluster);
}

/* ---- strays ---- */

static void stray_timer_arm(struct cluster *cluster, int64_t at_ms)
{
    if (!loop_timer_is_armed(&cluster->stray_timer) || at_ms < cluster->stray_timer.at_ms) {
        loop_timer_set(&cluster->stray_timer, at_ms);
    }
}

static void call_stray(struct call *call, int64_t retry_ms)
{
    struct cluster *cluster = call->cluster;
    call->member = NULL;
    call->retry_ms = retry_ms;
    DL_APPEND(cluster->strays, call);
    stray_timer_arm(cluster,
                    retry_ms > 0 && retry_ms < call->deadline_ms ? retry_ms : call->deadline_ms);
}

static void call_expire(struct call *call)
{
    struct cluster *cluster = call->cluster;
    const struct member *member = call->slot >= 0 ? cluster->slots[call->slot] : NULL;
    const char *why = member && member->node->why.text[0] ? member->node->why.text
                      : cluster->map_why.text[0]          ? cluster->map_why.text
                                                          : "not connected yet";
    if (call->refusal) {
        call_complete_err(call, ERR_UNAVAILABLE, call->refusal);
    } else {
        call_complete_err(call, ERR_CONNECT, why);
    }
}

static void call_route(struct call *call);

void strays_send(struct cluster *cluster)
{
    int64_t now_ms = loop_now_ms(cluster->loop);
    struct call *strays = cluster->strays;
    cluster->strays = NULL;
    while (strays) {
        struct call *call = strays;
        DL_DELETE(strays, call);
        if (call->retry_ms > now_ms) {
            call_stray(call, call->retry_ms);
        } else {
            call_route(call);
        }
    }
}

void strays_refuse(struct cluster *cluster, enum err err, const char *why)
{
    while (cluster->strays) {
        struct call *call = cluster->strays;
        DL_DELETE(cluster->strays, call);
        call_fail_later(call, err, why);
    }
}

static void on_stray_timer(void *arg)
{
    struct cluster *cluster = arg;
    int64_t now_ms = loop_now_ms(cluster->loop);
    struct call *strays = cluster->strays;
    cluster->strays = NULL;
    while (strays) {
        struct call *call = strays;
        DL_DELETE(strays, call);
        if (cluster->closed) {
            call_complete_err(call, ERR_CANCELLED, "the client was closed");
        } else if (call->deadline_ms <= now_ms) {
            call_expire(call);
        } else {
            call_stray(call, call->retry_ms);
        }
    }
    if (!cluster->closed) {
        strays_send(cluster);
    }
}

/* ---- at a node ---- */

static void on_reply(void *arg, const struct redis_result *result);

static void call_send(struct call *call, struct member *member, bool asking)
{
    static const struct slice ask[] = {SLICE_LIT("ASKING")};
    call->member = member;
    if (asking) {
        node_command(member->node, call->deadline_ms, ask, 1, NULL, NULL);
    }
    if (call->eval.script) {
        node_eval(member->node, call->deadline_ms, &call->eval, asking, on_reply, call);
    } else {
        node_command(member->node, call->deadline_ms, call->argv, call->argc, on_reply, call);
    }
}

static void call_route(struct call *call)
{
    struct cluster *cluster = call->cluster;
    struct member *member = map_member(cluster, call->slot);
    if (member && node_is_usable(member->node)) {
        call_send(call, member, false);
    } else {
        call_stray(call, 0);
        map_want(cluster);
    }
}

/* It did nothing, and says why. Half of the pause is chance. What would be sent so late that its
 * answer might miss the deadline is given up: now its effect is known. */
static void call_retry(struct call *call, const char *refusal)
{
    struct cluster *cluster = call->cluster;
    unsigned doublings = call->refusals < PAUSE_DOUBLINGS ? call->refusals : PAUSE_DOUBLINGS;
    int64_t pause_ms = (int64_t)PAUSE_MIN_MS << doublings;
    pause_ms = pause_ms / 2 + (int64_t)rng_below(&cluster->rng, (uint64_t)pause_ms / 2 + 1);
    free(call->refusal);
    call->refusal = mem_strdup(refusal);
    call->refusals++;
    call->hops = 0;
    int64_t retry_ms = loop_now_ms(cluster->loop) + pause_ms;
    if (retry_ms + LAST_MS > call->deadline_ms) {
        call_fail_later(call, ERR_UNAVAILABLE, call->refusal);
    } else {
        call_stray(call, retry_ms);
    }
}

/* Nodes that send us back and forth get a pause. */
static void call_hop(struct call *call, struct member *member, bool asking, const char *message)
{
    if (member && node_is_usable(member->node) && call->hops < HOPS_MAX) {
        call->hops++;
        call_send(call, member, asking);
    } else {
        call_retry(call, message);
    }
}

/* The slot has gone to another node. */
static void call_moved(struct call *call, struct slice where, const char *message)
{
    struct cluster *cluster = call->cluster;
    int slot;
    struct member *member = map_member_told(cluster, call->member, where, &slot);
    if (member) {
        map_set(cluster, slot, member);
    }
    map_want(cluster);
    call_hop(call, member, false, message);
}

/* The slot is moving, and these keys have gone already. */
static void call_asked(struct call *call, struct slice where, const char *message)
{
    int slot;
    struct member *member = map_member_told(call->cluster, call->member, where, &slot);
    call_hop(call, member, true, message);
}

static bool is_passing(struct slice text)
{
    static const char *const codes[] = {"TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN",
                                        "READONLY"};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (redis_error_is(text, codes[i])) {
            return true;
        }
    }
    return false;
}

static struct slice behind(struct slice text, const char *code)
{
    size_t len = strlen(code) + 1;
    return text.len > len ? slice_make(text.ptr + len, text.len - len) : slice_str(NULL);
}

/* True when the reply was no answer and the call goes on. */
static bool call_goes_on(struct call *call, const struct redis_result *result)
{
    struct cluster *cluster = call->cluster;
    struct slice text = slice_str(result->message);
    if (result->err == ERR_CONNECT) { /* lost before it was sent */
        map_want(cluster);
        if (loop_now_ms(cluster->loop) >= call->deadline_ms) {
            return false;
        }
        call_stray(call, 0);
    } else if (result->err == ERR_SCRIPT && redis_error_is(text, "MOVED")) {
        call_moved(call, behind(text, "MOVED"), result->message);
    } else if (result->err == ERR_SCRIPT && redis_error_is(text, "ASK")) {
        call_asked(call, behind(text, "ASK"), result->message);
    } else if (result->err == ERR_UNAVAILABLE && is_passing(text)) {
        if (!redis_error_is(text, "TRYAGAIN")) {
            map_want(cluster);
        }
        call_retry(call, result->message);
    } else {
        return false;
    }
    return true;
}

static void on_reply(void *arg, const struct redis_result *result)
{
    struct call *call = arg;
    struct cluster *cluster = call->cluster;
    if (!cluster->closed && call_goes_on(call, result)) {
        return;
    }
    if ((result->err == ERR_CLOSED || result->err == ERR_TIMEOUT) && !cluster->closed) {
        map_want(cluster); /* it may be replaced */
    }
    if (result->err == ERR_CONNECT && call->refusal) {
        call_complete_err(call, ERR_UNAVAILABLE, call->refusal);
    } else {
        call_complete(call, result);
    }
}

/* ---- the beginning ---- */

static struct call *call_new(struct cluster *cluster, const struct slice *first, size_t n,
                             const struct slice *second, size_t m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n + m; i++) {
        bytes += i < n ? first[i].len : second[i - n].len;
    }
    struct call *call = mem_alloc(sizeof(*call) + (n + m) * sizeof(call->argv[0]) + bytes);
    *call = (struct call){.cluster = cluster, .argc = n + m, .slot = ANY_SLOT};
    char *to = (char *)&call->argv[n + m];
    for (size_t i = 0; i < n + m; i++) {
        struct slice word = i < n ? first[i] : second[i - n];
        if (word.len > 0) {
            memcpy(to, word.ptr, word.len);
        }
        call->argv[i] = slice_make(to, word.len);
        to += word.len;
    }
    call->queued_us = loop_now_us(cluster->loop);
    return call;
}

/* False when it cannot be taken: then its callback is on the way. */
static bool call_begin(struct call *call, int64_t deadline_ms, redis_cb cb, void *arg)
{
    struct cluster *cluster = call->cluster;
    check(!cluster->closed);
    call->cb = cb;
    call->arg = arg;
    call->deadline_ms = deadline_ms;
    if (cluster->pending++ >= cluster->conf->queue_max) {
        call_fail_later(call, ERR_BUSY, "too many commands for Redis are pending");
        return false;
    }
    if (deadline_ms <= loop_now_ms(cluster->loop)) {
        call_fail_later(call, ERR_TIMEOUT, "its deadline had passed before it was sent");
        return false;
    }
    return true;
}

void cluster_command(struct cluster *cluster, int64_t deadline_ms, const struct slice *argv,
                     size_t argc, redis_cb cb, void *arg)
{
    struct slice key;
    check(argc > 0);
    struct call *call = call_new(cluster, argv, argc, NULL, 0);
    if (call_begin(call, deadline_ms, cb, arg)) {
        call->slot = command_key(argv, argc, &key) ? key_slot(key) : ANY_SLOT;
        call_route(call);
    }
}

void cluster_eval(struct cluster *cluster, int64_t deadline_ms, const struct redis_eval *eval,
                  redis_cb cb, void *arg)
{
    size_t keys = (size_t)eval->script->keys;
    struct call *call = call_new(cluster, eval->keys, keys, eval->args, eval->arg_count);
    if (call_begin(call, deadline_ms, cb, arg)) {
        call->eval = *eval;
        call->eval.keys = call->argv;
        call->eval.args = call->argv + keys;
        call->slot = keys > 0 ? key_slot(eval->keys[0]) : ANY_SLOT;
        call_route(call);
    }
}

void cluster_command_at(struct cluster *cluster, size_t master, int64_t deadline_ms,
                        const struct slice *argv, size_t argc, redis_cb cb, void *arg)
{
    struct member *member = cluster_master(cluster, master);
    if (member) {
        node_command(member->node, deadline_ms, argv, argc, cb, arg);
        return;
    }
    struct call *call = call_new(cluster, argv, argc, NULL, 0);
    if (call_begin(call, deadline_ms, cb, arg)) {
        call_fail_later(call, ERR_CONNECT, "the cluster has fewer masters by now");
    }
}

/* ---- open and close ---- */

struct cluster *cluster_open(struct loop *loop, const struct redis_conf *conf,
                             const struct where *seeds)
{
    struct cluster *cluster = mem_new(struct cluster);
    cluster->loop = loop;
    cluster->conf = conf;
    cluster->seeds = seeds;
    rng_seed_system(&cluster->rng);
    loop_timer_init(&cluster->stray_timer, loop, on_stray_timer, cluster);
    map_open(cluster);
    return cluster;
}

static void cluster_free(void *arg)
{
    struct cluster *cluster = arg;
    map_free(cluster);
    free(cluster);
}

static void on_close_task(void *arg)
{
    struct cluster *cluster = arg;
    on_stray_timer(cluster);
    loop_undefer(cluster->loop, &cluster->fail_task);
    on_fail_task(cluster);
    loop_defer_free(cluster->loop, cluster, cluster_free);
}

void cluster_close(struct cluster *cluster)
{
    check(!cluster->closed);
    cluster->closed = true;
    loop_timer_clear(&cluster->stray_timer);
    map_close(cluster);
    loop_defer(cluster->loop, &cluster->close_task, on_close_task, cluster);
}
