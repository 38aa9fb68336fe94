#include "coordinator/caller_net_link.h"

#include "base/check.h"
#include "base/mem.h"
#include "wire/rpc.h"

#include <stdio.h>
#include <stdlib.h>

/* The limit of a frame counts for both directions: every call that was accepted must fit. */
enum { CALL_MAX = 1024 * 1024 };
_Static_assert(TXN_PAYLOAD_MAX +
                       TXN_HEADERS_MAX * (TXN_HEADER_NAME_MAX + TXN_HEADER_VALUE_MAX + 16) +
                       TXN_URL_MAX + 4096 <
                   CALL_MAX,
               "the largest call fits into a frame");

struct tcp_link {
    struct loop *loop;
    struct rpc_client_conf conf; /* its strings belong to the caller but the address */
    char *address;
    struct rpc_client **clients;
    int count, max;
};

struct tcp_call {
    link_cb cb;
    void *arg;
};

struct tcp_link *tcp_link_new(struct loop *loop, const struct tcp_link_conf *conf)
{
    struct tcp_link *link = mem_new(struct tcp_link);
    link->loop = loop;
    link->address = mem_strdup(conf->address);
    link->max = conf->connections;
    link->clients = mem_zalloc((size_t)conf->connections * sizeof(struct rpc_client *));
    link->conf = (struct rpc_client_conf){
        .address = link->address,
        .program = conf->program,
        .token = conf->token && conf->token[0] ? conf->token : NULL,
        .connect_timeout_ms = conf->connect_timeout_ms,
        .limits = rpc_limits_default,
    };
    link->conf.limits.in_flight_max = conf->in_flight_max;
    link->conf.limits.out_high =
        (size_t)2 * LINK_BYTES_MAX; /* lines hold calls back before this does */
    link->conf.limits.frame_max = conf->answer_max > CALL_MAX ? conf->answer_max : CALL_MAX;
    return link;
}

void tcp_link_free(struct tcp_link *link)
{
    for (int i = 0; i < link->count; i++) {
        rpc_client_free(link->clients[i]);
    }
    free(link->clients);
    free(link->address);
    free(link);
}

/* The connection with the least in flight; a further one is opened only when all are in use. */
static struct rpc_client *link_pick(struct tcp_link *link)
{
    struct rpc_client *best = NULL;
    for (int i = 0; i < link->count; i++) {
        struct rpc_client *client = link->clients[i];
        if (!best || rpc_client_in_flight(client) < rpc_client_in_flight(best)) {
            best = client;
        }
    }
    if (best && (rpc_client_in_flight(best) == 0 || link->count == link->max)) {
        return best;
    }
    link->clients[link->count] = rpc_client_new(link->loop, &link->conf);
    return link->clients[link->count++];
}

static enum call_verdict verdict_of(enum wire_result result)
{
    switch (result) {
    case WIRE_SUCCESS: return CALL_SUCCESS;
    case WIRE_FAILURE: return CALL_FAILURE;
    case WIRE_ONGOING: return CALL_ONGOING;
    case WIRE_RESULT_UNSPECIFIED:
    case WIRE_RESULT_ERROR: return CALL_ERROR;
    case WIRE_RESULT_CONFLICT: return CALL_CONFLICT;
    }
    return CALL_ERROR; /* a number of a later version */
}

static void tcp_call_end(struct tcp_call *call, enum link_fate fate, enum call_verdict verdict,
                         struct slice message)
{
    call->cb(call->arg, fate, verdict, message);
    free(call);
}

static void tcp_call_error(struct tcp_call *call, enum err err, const char *why)
{
    char text[256];
    snprintf(text, sizeof(text), "%s%s%s", err_text(err), why && why[0] ? ": " : "",
             why ? why : "");
    tcp_call_end(call, link_fate_of(err), CALL_ERROR, slice_str(text));
}

static void on_reply(void *arg, enum err err, const struct wire_message *reply, const char *why)
{
    struct tcp_call *call = arg;
    if (err) {
        tcp_call_error(call, err, why);
    } else if (reply->kind == WIRE_CALL_REPLY) {
        const struct wire_call_reply *answer = &reply->call_reply;
        tcp_call_end(call, LINK_ANSWERED, verdict_of(answer->result),
                     answer->message.len > 0 ? answer->message : answer->payload);
    } else if (reply->kind == WIRE_ERROR) {
        bool stopping = reply->error.code == WIRE_ERROR_UNAVAILABLE;
        tcp_call_end(call, stopping ? LINK_UNSENT : LINK_ANSWERED, CALL_ERROR,
                     reply->error.message);
    } else {
        tcp_call_error(call, ERR_PROTOCOL, "the participant answered with another message");
    }
}

/* A year may be left, and the wire tells 49 days. */
static uint32_t timeout_told(const struct tcp_link *link, const struct link_call *call)
{
    int64_t left_ms = call->deadline_ms - loop_now_ms(link->loop);
    return left_ms < 1 ? 1 : left_ms < UINT32_MAX ? (uint32_t)left_ms : UINT32_MAX;
}

void tcp_link_send(struct tcp_link *link, const struct link_call *call, link_cb cb, void *arg)
{
    struct wire_header headers[WIRE_HEADERS_MAX];
    check(call->header_count <= WIRE_HEADERS_MAX);
    for (size_t i = 0; i < call->header_count; i++) {
        headers[i] = (struct wire_header){call->headers[i].name, call->headers[i].value};
    }
    struct wire_message request = {
        .kind = WIRE_CALL,
        .call = {.gid = call->gid,
                 .branch_id = call->branch_id,
                 .op = call->op,
                 .trans_type = call->trans_type,
                 .method = call->rest,
                 .payload = call->payload,
                 .timeout_ms = timeout_told(link, call),
                 .started_ms = call->started_ms,
                 .headers = headers,
                 .header_count = call->header_count,
                 .traceparent = slice_str(call->traceparent)},
    };
    struct tcp_call *pending = mem_new(struct tcp_call);
    *pending = (struct tcp_call){cb, arg};
    rpc_client_call(link_pick(link), &request, call->deadline_ms, on_reply, pending);
}
