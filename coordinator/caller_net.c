#include "coordinator/caller_net.h"

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/caller_net_internal.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARN_EVERY_MS = 1000 };

/* ---- completion ---- */

void call_finish(struct net_call *call, enum call_verdict verdict, struct slice message)
{
    struct call_result result = {.verdict = verdict,
                                 .message = message,
                                 .duration_us = loop_now_us(call->net->loop) - call->started_us};
    if (!call->net->closing) {
        call->cb(call->arg, &result);
    }
    arena_fini(&call->arena);
    free(call->refusal);
    free(call);
}

static void on_refused(void *arg)
{
    struct net_call *call = arg;
    call_finish(call, CALL_ERROR, slice_str(call->refusal));
}

void call_refuse(struct net_call *call, const char *why)
{
    call->refusal = mem_strdup(why);
    loop_defer(call->net->loop, &call->task, on_refused, call);
}

/* ---- another instance ---- */

/* A call that did not leave may go anywhere. One whose connection broke may have been executed, and
 * behind the barrier it can be repeated; but once only at once, for it may be what breaks them. */
static bool may_move(const struct net_call *call, enum link_fate fate)
{
    bool again = fate == LINK_UNSENT || (fate == LINK_BROKEN && !call->broken);
    return again && call->movable && call->tries < CALL_TRIES_MAX && !call->net->closing &&
           call->kept.deadline_ms > loop_now_ms(call->net->loop);
}

/* True when it is on its way to another instance of its service. */
static bool call_move(struct net_call *call)
{
    struct caller_net *net = call->net;
    struct participant *from = call->participant;
    struct slice host;
    struct reason reason;
    call->tried[call->tries++] = from->serial;
    struct participant *other = peer_pick(call, &call->to, &host, &reason);
    if (!other) {
        return false;
    }
    char gid[256];
    log_debug("caller", "msg=\"goes to another instance\" gid=\"%s\" from=%s to=%s",
              log_text(call->kept.gid, gid, sizeof(gid)), from->key + 1, other->key + 1);
    net->moved++;
    call->participant = other;
    call->kept.host = arena_copy(&call->arena, host);
    call_dispatch(call, &call->kept);
    return true;
}

/* Whoever waits for an instance that has just failed goes elsewhere, if there is an elsewhere. */
static void line_move(struct participant *participant)
{
    struct net_call *call, *next;
    DL_FOREACH_SAFE(participant->line, call, next)
    {
        if (may_move(call, LINK_UNSENT)) {
            line_leave(call);
            if (!call_move(call)) {
                line_join(call, &call->kept); /* at the end: all of them stay */
                call->tries--;
                return;
            }
        }
    }
}

static enum breaker_news news_of(enum link_fate fate, enum call_verdict verdict)
{
    switch (fate) {
    case LINK_ANSWERED: return verdict == CALL_ERROR ? BREAKER_DOUBTFUL : BREAKER_GOOD;
    case LINK_UNSENT:
    case LINK_BROKEN: return BREAKER_DEAD;
    case LINK_SILENT: return BREAKER_SILENT;
    case LINK_REFUSED: return BREAKER_NEUTRAL;
    }
    return BREAKER_NEUTRAL;
}

static void participant_learn(struct net_call *call, enum link_fate fate, enum call_verdict verdict)
{
    struct participant *participant = call->participant;
    int64_t now = loop_now_ms(call->net->loop);
    bool rests = breaker_report(&participant->breaker, news_of(fate, verdict), call->breaker_call,
                                now, rng_next(&call->net->rng));
    if (rests && !call->net->closing) {
        log_debug("caller", "msg=\"instance rests\" addr=%s ms=%lld", participant->key + 1,
                  (long long)participant->breaker.rest_ms);
        line_move(participant);
        line_deadline_update(call->net);
    }
}

static void on_sent(void *arg, enum link_fate fate, enum call_verdict verdict, struct slice message)
{
    struct net_call *call = arg;
    struct caller_net *net = call->net;
    struct participant *participant = call->participant;
    participant->in_flight--;
    participant->in_flight_bytes -= call->bytes;
    net->in_flight--;
    participant->used_ms = loop_now_ms(net->loop);
    participant->pins++; /* to look for another instance may make us forget idle ones */
    participant_learn(call, fate, verdict);
    if (!net->closing) {
        line_pump_after(net, participant);
    }
    bool moves = may_move(call, fate);
    call->broken = call->broken || fate == LINK_BROKEN;
    moves = moves && call_move(call);
    participant->pins--;
    if (FAULT("caller.after_call")) { /* the answer got lost */
        verdict = CALL_ERROR;
        message = slice_str("fault point");
    }
    if (!moves) {
        call_finish(call, verdict, message); /* last: the callback may start calls */
    }
}

/* ---- sending ---- */

void call_keep(struct net_call *call, const struct link_call *what)
{
    struct arena *arena = &call->arena;
    if (call->kept_is_set) {
        return;
    }
    call->kept_is_set = true;
    struct txn_header *headers = arena_alloc(arena, (what->header_count + 1) * sizeof(*headers));
    for (size_t i = 0; i < what->header_count; i++) {
        headers[i].name = arena_copy(arena, what->headers[i].name);
        headers[i].value = arena_copy(arena, what->headers[i].value);
    }
    call->kept = *what;
    call->kept.headers = headers;
    call->kept.gid = arena_copy(arena, what->gid);
    call->kept.branch_id = arena_copy(arena, what->branch_id);
    call->kept.op = arena_copy(arena, what->op);
    call->kept.trans_type = arena_copy(arena, what->trans_type);
    call->kept.rest = arena_copy(arena, what->rest);
    call->kept.host = arena_copy(arena, what->host);
    call->kept.payload = arena_copy(arena, what->payload);
    call->kept.traceparent = arena_copy(arena, slice_str(what->traceparent)).ptr;
    if (call->movable) {
        call->to.host = arena_copy(arena, call->to.host);
        call->to.port = arena_copy(arena, call->to.port);
    }
}

void call_send(struct net_call *call, const struct link_call *what)
{
    struct participant *participant = call->participant;
    call->bytes = what->payload.len;
    call->breaker_call = breaker_call_begins(&participant->breaker, loop_now_ms(call->net->loop));
    participant->in_flight++;
    participant->in_flight_bytes += call->bytes;
    call->net->in_flight++;
    if (peer_is_tcp(participant)) {
        tcp_link_send(participant->tcp, what, on_sent, call);
    } else {
        http_link_send(call->net->http, call->net->loop, participant->key + 1, what, on_sent, call);
    }
}

void call_dispatch(struct net_call *call, const struct link_call *what)
{
    struct participant *participant = call->participant;
    if (!line_is_needed(call->net, participant)) {
        call_send(call, what);
    } else if (participant->waiting < call->net->conf.waiting_max) {
        line_join(call, what);
    } else {
        char text[BRANCH_ADDRESS_SIZE + 120];
        snprintf(text, sizeof(text), "too many calls to %s: %d in flight, %d wait",
                 participant->key + 1, participant->in_flight, participant->waiting);
        call_refuse(call, text);
    }
}

/* ---- the port ---- */

/* The one of the branch headers when it is given, so that a caller's trace goes on. */
static const char *traceparent_for(struct net_call *call, const struct txn *txn)
{
    for (size_t i = 0; i < txn->options.header_count; i++) {
        const struct txn_header *header = &txn->options.headers[i];
        if (slice_eq_str(header->name, "traceparent") && trace_parent_is_valid(header->value)) {
            snprintf(call->traceparent, sizeof(call->traceparent), "%.*s",
                     SLICE_ARG(header->value));
            return call->traceparent;
        }
    }
    return trace_parent_make(txn->gid, &call->net->rng, call->traceparent);
}

/* At most one line a second: who submits chooses the urls. */
static void url_warn(struct caller_net *net, const struct reason *reason)
{
    int64_t now = loop_now_ms(net->loop);
    if (net->warned_ms == 0 || now - net->warned_ms >= WARN_EVERY_MS) {
        char why[sizeof(reason->text)];
        log_warn("caller", "msg=\"branch url cannot be used\" why=\"%s\"",
                 log_text(slice_str(reason->text), why, sizeof(why)));
        net->warned_ms = now;
    }
}

static void port_start(struct caller *port, const struct branch_call *call, call_cb cb, void *arg)
{
    struct caller_net *net = container_of(port, struct caller_net, port);
    struct net_call *pending = mem_new(struct net_call);
    pending->net = net;
    pending->cb = cb;
    pending->arg = arg;
    pending->started_us = loop_now_us(net->loop);
    struct reason reason;
    struct slice host;
    if (FAULT("caller.before_call")) {
        call_refuse(pending, "fault point");
        return;
    }
    if (resolver_parse(call->url, &pending->to, &reason) ||
        !(pending->participant = peer_pick(pending, &pending->to, &host, &reason))) {
        url_warn(net, &reason);
        call_refuse(pending, reason.text);
        return;
    }
    const struct txn *txn = call->txn;
    struct link_call what = {
        .gid = txn->gid,
        .branch_id = call->branch->id,
        .op = slice_str(call->op),
        .trans_type = slice_str(txn_type_name(txn->type)),
        .rest = pending->to.rest,
        .host = host,
        .payload = call->payload,
        .headers = call->headers,
        .header_count = call->header_count,
        .started_ms = txn->created_ms,
        .deadline_ms = loop_now_ms(net->loop) + call->timeout_ms,
        .traceparent = traceparent_for(pending, txn),
        .json_rpc = txn->options.json_rpc,
    };
    if (pending->movable) {
        call_keep(pending, &what); /* it may be sent more than once */
        call_dispatch(pending, &pending->kept);
    } else {
        call_dispatch(pending, &what);
    }
}

static const struct caller_ops net_ops = {.start = port_start};

/* ---- life ---- */

static struct http_client *http_open(struct loop *loop, const struct caller_net_conf *conf)
{
    struct http_client_conf http = {
        .per_host_max = conf->http_in_flight_max,
        .waiting_max = conf->http_in_flight_max,
        .connect_timeout_ms = conf->connect_timeout_ms,
        .idle_ms = conf->idle_ms,
        .body_max = conf->answer_max,
    };
    return http_client_new(loop, &http);
}

static struct directory *directory_open(struct loop *loop, const struct caller_net_conf *conf)
{
    struct directory_conf directory = {
        .map = conf->resolver,
        .dns_ttl_ms = conf->dns_ttl_ms,
        .idle_ms = conf->idle_ms,
        .services_max = conf->participants_max,
    };
    return directory_new(loop, &directory);
}

struct caller_net *caller_net_new(struct loop *loop, const struct caller_net_conf *conf)
{
    struct caller_net *net = mem_new(struct caller_net);
    net->port.ops = &net_ops;
    net->loop = loop;
    net->conf = *conf;
    net->program = mem_strdup(conf->program);
    net->token = mem_strdup(conf->token);
    net->http = http_open(loop, conf);
    rng_seed(&net->rng, conf->seed);
    net->directory = directory_open(loop, conf);
    loop_timer_init(&net->deadline_timer, loop, line_on_deadline, net);
    loop_timer_init(&net->sweep_timer, loop, peer_on_sweep, net);
    loop_timer_set(&net->sweep_timer, loop_now_ms(loop) + conf->idle_ms);
    return net;
}

void caller_net_tune(struct caller_net *net, int waiting_max, int in_flight_max)
{
    net->conf.waiting_max = waiting_max;
    net->conf.in_flight_max = in_flight_max;
    directory_renew(net->directory);
    lines_pump_all(net); /* else nobody would move the lines that the old limit has made */
}

static void lines_drop(struct caller_net *net)
{
    while (net->queued) {
        struct net_call *call = net->queued->line;
        line_leave(call);
        call_finish(call, CALL_ERROR, slice_str("cancelled"));
    }
}

static void net_destroy(void *arg)
{
    struct caller_net *net = arg;
    peer_forget_all(net);
    heap_fini(&net->deadlines);
    free(net->program);
    free(net->token);
    free(net);
}

void caller_net_free(struct caller_net *net)
{
    net->closing = true;
    lines_drop(net);
    loop_timer_clear(&net->deadline_timer);
    loop_timer_clear(&net->sweep_timer);
    /* The calls in flight end now, silently; their memory is ours until the end of the turn. */
    for (struct participant *p = net->participants; p; p = p->hh.next) {
        if (p->tcp) {
            tcp_link_free(p->tcp);
        }
        p->tcp = NULL;
    }
    http_client_free(net->http);
    directory_free(net->directory);
    loop_defer_free(net->loop, net, net_destroy);
}

struct caller *caller_net_port(struct caller_net *net)
{
    return &net->port;
}

struct directory *caller_net_directory(struct caller_net *net)
{
    return net->directory;
}

struct caller_net_stats caller_net_stats(const struct caller_net *net)
{
    struct caller_net_stats stats = {.in_flight = net->in_flight,
                                     .waiting = net->waiting,
                                     .participants = (int)HASH_COUNT(net->participants),
                                     .moved = net->moved};
    for (const struct participant *p = net->participants; p; p = p->hh.next) {
        stats.instances_resting += p->breaker.rest_ms > 0;
    }
    return stats;
}
