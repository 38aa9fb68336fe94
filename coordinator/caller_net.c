#include "coordinator/caller_net.h"

#include "base/check.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/caller_net_link.h"
#include "coordinator/resolver.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

enum { KEY_SIZE = BRANCH_ADDRESS_SIZE + 1, WARN_EVERY_MS = 1000 };

struct net_call;

struct participant {
    char key[KEY_SIZE]; /* 't' or 'h', then the address */
    UT_hash_handle hh;
    struct tcp_link *tcp; /* tcp only */
    int in_flight, waiting;
    size_t in_flight_bytes; /* of payloads */
    int64_t used_ms;
    struct net_call *line;
    struct participant *prev, *next; /* in net->queued while it has a line */
};

struct net_call {
    struct caller_net *net;
    struct participant *participant; /* NULL: refused before it had one */
    call_cb cb;
    void *arg;
    int64_t started_us;
    size_t bytes; /* of the payload */
    /* in line only: the call with all that it points at */
    struct arena arena;
    struct link_call kept;
    char traceparent[TRACEPARENT_SIZE];
    struct heap_node deadline;
    struct net_call *prev, *next;
    /* refused at once: told in the next step of the loop */
    struct loop_task task;
    char *refusal;
};

struct caller_net {
    struct caller port;
    struct loop *loop;
    struct caller_net_conf conf;
    char *program, *token;
    struct rng rng;
    struct http_client *http;
    struct participant *participants; /* by key */
    struct participant *queued;       /* those with a line, taking turns */
    struct heap deadlines;            /* of calls in line */
    struct loop_timer deadline_timer, sweep_timer;
    int in_flight, waiting;
    int64_t warned_ms; /* when a bad url was logged last */
    bool closing;
};

static void call_pump_after(struct caller_net *net, struct participant *participant);

/* ---- completion ---- */

static void call_finish(struct net_call *call, enum call_verdict verdict, struct slice message)
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

static void call_refuse(struct net_call *call, const char *why)
{
    call->refusal = mem_strdup(why);
    loop_defer(call->net->loop, &call->task, on_refused, call);
}

static void on_sent(void *arg, enum call_verdict verdict, struct slice message)
{
    struct net_call *call = arg;
    struct caller_net *net = call->net;
    struct participant *participant = call->participant;
    participant->in_flight--;
    participant->in_flight_bytes -= call->bytes;
    net->in_flight--;
    participant->used_ms = loop_now_ms(net->loop);
    if (!net->closing) {
        call_pump_after(net, participant); /* first: the callback may make us forget participants */
    }
    call_finish(call, verdict, message);
}

/* ---- sending and lines ---- */

static bool participant_is_tcp(const struct participant *participant)
{
    return participant->key[0] == 't';
}

static int participant_cap(const struct caller_net *net, const struct participant *participant)
{
    return participant_is_tcp(participant) ? net->conf.tcp_in_flight_max
                                           : net->conf.http_in_flight_max;
}

static bool may_send(const struct caller_net *net, const struct participant *participant)
{
    return net->in_flight < net->conf.in_flight_max &&
           participant->in_flight < participant_cap(net, participant) &&
           participant->in_flight_bytes < LINK_BYTES_MAX;
}

static void call_send(struct net_call *call, const struct link_call *what)
{
    struct participant *participant = call->participant;
    call->bytes = what->payload.len;
    participant->in_flight++;
    participant->in_flight_bytes += call->bytes;
    call->net->in_flight++;
    if (participant_is_tcp(participant)) {
        tcp_link_send(participant->tcp, what, on_sent, call);
    } else {
        http_link_send(call->net->http, call->net->loop, participant->key + 1, what, on_sent, call);
    }
}

static void deadline_timer_update(struct caller_net *net)
{
    struct heap_node *first = heap_first(&net->deadlines);
    if (first) {
        loop_timer_set(&net->deadline_timer, first->at);
    } else {
        loop_timer_clear(&net->deadline_timer);
    }
}

static void line_join(struct net_call *call, const struct link_call *what)
{
    struct caller_net *net = call->net;
    struct participant *participant = call->participant;
    struct arena *arena = &call->arena;
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
    call->kept.payload = arena_copy(arena, what->payload);
    call->kept.traceparent = arena_copy(arena, slice_str(what->traceparent)).ptr;
    if (!participant->line) {
        DL_APPEND(net->queued, participant);
    }
    DL_APPEND(participant->line, call);
    participant->waiting++;
    net->waiting++;
    heap_set(&net->deadlines, &call->deadline, what->deadline_ms);
    deadline_timer_update(net);
}

static void line_leave(struct net_call *call)
{
    struct caller_net *net = call->net;
    struct participant *participant = call->participant;
    DL_DELETE(participant->line, call);
    participant->waiting--;
    net->waiting--;
    heap_remove(&net->deadlines, &call->deadline);
    if (!participant->line) {
        DL_DELETE(net->queued, participant);
    }
}

static void line_advance(struct participant *participant)
{
    struct net_call *call = participant->line;
    line_leave(call);
    call_send(call, &call->kept);
}

/* One from each line in turn, as long as there is room for all. */
static void lines_pump_all(struct caller_net *net)
{
    bool moved = true;
    while (moved && net->in_flight < net->conf.in_flight_max) {
        moved = false;
        struct participant *participant, *next;
        DL_FOREACH_SAFE(net->queued, participant, next)
        {
            if (may_send(net, participant)) {
                line_advance(participant);
                moved = true;
            }
        }
    }
    /* whoever was served first this time is served last the next time */
    struct participant *first = net->queued;
    if (first && first->next) {
        DL_DELETE(net->queued, first);
        DL_APPEND(net->queued, first);
    }
    deadline_timer_update(net);
}

/* A slot of this participant became free. */
static void call_pump_after(struct caller_net *net, struct participant *participant)
{
    if (net->waiting == 0) {
        return;
    }
    if (net->in_flight + 1 >= net->conf.in_flight_max) {
        lines_pump_all(net);
        return;
    }
    if (participant->line && may_send(net, participant)) {
        line_advance(participant);
        deadline_timer_update(net);
    }
}

static void on_deadline(void *arg)
{
    struct caller_net *net = arg;
    struct heap_node *first;
    while ((first = heap_first(&net->deadlines)) && first->at <= loop_now_ms(net->loop)) {
        struct net_call *call = container_of(first, struct net_call, deadline);
        struct participant *participant = call->participant;
        char text[BRANCH_ADDRESS_SIZE + 120];
        snprintf(text, sizeof(text),
                 "deadline passed in line: %d calls to %s are in flight, %d wait",
                 participant->in_flight, participant->key + 1, participant->waiting);
        line_leave(call);
        call_finish(call, CALL_ERROR, slice_str(text));
    }
    deadline_timer_update(net);
}

/* ---- participants ---- */

static void participant_free(struct caller_net *net, struct participant *participant)
{
    HASH_DEL(net->participants, participant);
    if (participant->tcp) {
        tcp_link_free(participant->tcp);
    }
    free(participant);
}

static bool participant_is_idle(const struct participant *participant)
{
    return participant->in_flight == 0 && participant->waiting == 0;
}

static void participants_sweep(struct caller_net *net, int64_t unused_since_ms)
{
    struct participant *participant, *next;
    HASH_ITER(hh, net->participants, participant, next)
    {
        if (participant_is_idle(participant) && participant->used_ms <= unused_since_ms) {
            participant_free(net, participant);
        }
    }
}

static void on_sweep(void *arg)
{
    struct caller_net *net = arg;
    int64_t now = loop_now_ms(net->loop);
    participants_sweep(net, now - net->conf.idle_ms);
    loop_timer_set(&net->sweep_timer, now + net->conf.idle_ms / 2 + 1);
}

static struct participant *participant_new(struct caller_net *net, const char *key)
{
    struct participant *participant = mem_new(struct participant);
    memcpy(participant->key, key, strlen(key) + 1);
    if (participant_is_tcp(participant)) {
        struct tcp_link_conf conf = {
            .address = key + 1,
            .program = net->program,
            .token = net->token,
            .connections = net->conf.tcp_connections,
            .in_flight_max = net->conf.tcp_in_flight_max,
            .connect_timeout_ms = net->conf.connect_timeout_ms,
            .answer_max = net->conf.answer_max,
        };
        participant->tcp = tcp_link_new(net->loop, &conf);
    }
    HASH_ADD_STR(net->participants, key, participant);
    return participant;
}

/* NULL when there are too many and none of them is idle. */
static struct participant *participant_get(struct caller_net *net, const struct branch_address *to)
{
    char key[KEY_SIZE];
    key[0] = to->scheme == BRANCH_TCP ? 't' : 'h';
    memcpy(key + 1, to->address, strlen(to->address) + 1);
    struct participant *participant;
    HASH_FIND_STR(net->participants, key, participant);
    if (!participant) {
        if (HASH_COUNT(net->participants) >= (unsigned)net->conf.participants_max) {
            participants_sweep(net, INT64_MAX);
        }
        if (HASH_COUNT(net->participants) >= (unsigned)net->conf.participants_max) {
            return NULL;
        }
        participant = participant_new(net, key);
    }
    participant->used_ms = loop_now_ms(net->loop);
    return participant;
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

static void call_dispatch(struct net_call *call, const struct link_call *what)
{
    struct participant *participant = call->participant;
    if (!participant->line && may_send(call->net, participant)) {
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

/* At most one line a second: who submits chooses the urls. */
static void url_warn(struct caller_net *net, const struct reason *reason)
{
    int64_t now = loop_now_ms(net->loop);
    if (net->warned_ms == 0 || now - net->warned_ms >= WARN_EVERY_MS) {
        log_warn("caller", "msg=\"branch url cannot be used\" why=\"%s\"", reason->text);
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
    struct branch_address to;
    struct reason reason;
    if (resolver_resolve(net->conf.resolver, call->url, &to, &reason)) {
        url_warn(net, &reason);
        call_refuse(pending, reason.text);
        return;
    }
    pending->participant = participant_get(net, &to);
    if (!pending->participant) {
        call_refuse(pending, "too many different participants are being called");
        return;
    }
    const struct txn *txn = call->txn;
    struct link_call what = {
        .gid = txn->gid,
        .branch_id = call->branch->id,
        .op = slice_str(call->op),
        .trans_type = slice_str(txn_type_name(txn->type)),
        .rest = to.rest,
        .payload = call->payload,
        .headers = call->headers,
        .header_count = call->header_count,
        .started_ms = txn->created_ms,
        .deadline_ms = loop_now_ms(net->loop) + call->timeout_ms,
        .traceparent = traceparent_for(pending, txn),
        .json_rpc = txn->options.json_rpc,
    };
    call_dispatch(pending, &what);
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
    loop_timer_init(&net->deadline_timer, loop, on_deadline, net);
    loop_timer_init(&net->sweep_timer, loop, on_sweep, net);
    loop_timer_set(&net->sweep_timer, loop_now_ms(loop) + conf->idle_ms);
    return net;
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
    struct participant *participant, *next;
    HASH_ITER(hh, net->participants, participant, next)
    {
        HASH_DEL(net->participants, participant);
        free(participant);
    }
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
    loop_defer_free(net->loop, net, net_destroy);
}

struct caller *caller_net_port(struct caller_net *net)
{
    return &net->port;
}

struct caller_net_stats caller_net_stats(const struct caller_net *net)
{
    return (struct caller_net_stats){.in_flight = net->in_flight,
                                     .waiting = net->waiting,
                                     .participants = (int)HASH_COUNT(net->participants)};
}
