/* Calls of other participants, over one connection for each address. */
#include "base/check.h"
#include "base/mem.h"
#include "saga_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEERS_MAX = 64 };

struct request {
    struct saga *saga;
    saga_response_cb cb;
    void *arg;
    enum saga_error refused;
    const char *why;
    struct loop_task task;
};

/* ---- peers ---- */

static void peer_free(struct saga *saga, struct peer *peer)
{
    HASH_DEL(saga->peers, peer);
    rpc_client_free(peer->client);
    free(peer->address);
    free(peer);
}

void peers_close(struct saga *saga)
{
    struct peer *peer, *next;
    HASH_ITER(hh, saga->peers, peer, next)
    {
        peer_free(saga, peer);
    }
}

/* Makes room by closing the peer that was idle longest; false when all are at work. */
static bool peers_make_room(struct saga *saga)
{
    if (HASH_COUNT(saga->peers) < PEERS_MAX) {
        return true;
    }
    struct peer *idle = NULL;
    for (struct peer *peer = saga->peers; peer; peer = peer->hh.next) {
        if (rpc_client_in_flight(peer->client) == 0 && (!idle || peer->used_ms < idle->used_ms)) {
            idle = peer;
        }
    }
    if (idle) {
        peer_free(saga, idle);
    }
    return idle != NULL;
}

static struct peer *peer_get(struct saga *saga, const char *address)
{
    struct peer *peer = NULL;
    HASH_FIND_STR(saga->peers, address, peer);
    if (!peer && peers_make_room(saga)) {
        peer = mem_new(struct peer);
        peer->address = mem_strdup(address);
        peer->client = client_new(saga, address);
        HASH_ADD_KEYPTR(hh, saga->peers, peer->address, strlen(peer->address), peer);
    }
    if (peer) {
        peer->used_ms = loop_now_ms(saga->loop);
    }
    return peer;
}

/* ---- answers ---- */

static enum saga_result result_of_wire(enum wire_result result)
{
    switch (result) {
    case WIRE_SUCCESS: return SAGA_SUCCESS;
    case WIRE_FAILURE: return SAGA_FAILURE;
    case WIRE_ONGOING: return SAGA_ONGOING;
    case WIRE_RESULT_UNSPECIFIED:
    case WIRE_RESULT_ERROR: return SAGA_ERROR;
    case WIRE_RESULT_CONFLICT: return SAGA_RESULT_CONFLICT;
    }
    unreachable("wire_result");
}

static void request_end(struct request *request, const struct saga_response *response)
{
    request->cb(request->arg, response);
    request->saga->pending--;
    free(request);
}

static void on_reply(void *arg, enum err err, const struct wire_message *reply, const char *why)
{
    struct reason reason = {.text = ""};
    struct saga_response response = {.error = error_of_reply(err, reply, why, &reason)};
    if (response.error == SAGA_E_NONE && reply->kind != WIRE_CALL_REPLY) {
        response.error = SAGA_E_UNAVAILABLE;
        (void)reason_set(&reason, ERR_PROTOCOL,
                         "the participant's answer does not fit the request");
    }
    if (response.error == SAGA_E_NONE) {
        response.result = result_of_wire(reply->call_reply.result);
        response.payload = bytes_of(reply->call_reply.payload);
        (void)reason_set(&reason, ERR_OK, "%.*s", SLICE_ARG(reply->call_reply.message));
    }
    response.message = reason.text;
    request_end(arg, &response);
}

static void on_refused(void *arg)
{
    struct request *request = arg;
    struct saga_response response = {.error = request->refused, .message = request->why};
    request_end(request, &response);
}

const char *participant_url_init(struct participant_url *out, const char *url)
{
    static const char scheme[] = "tcp://";
    static const char wrong[] =
        "the url of what this program calls must be tcp://HOST:PORT/package.Service/Method: names "
        "are known to the coordinator only";
    *out = (struct participant_url){.method = NULL};
    if (!url || strncmp(url, scheme, sizeof(scheme) - 1) != 0) {
        return wrong;
    }
    const char *authority = url + sizeof(scheme) - 1;
    size_t len = strcspn(authority, "/");
    const char *bracket = memchr(authority, ']', len);
    const char *port = bracket ? bracket + 1 : memchr(authority, ':', len);
    if (authority[len] != '/' || !port || *port != ':' || len >= sizeof(out->address)) {
        return wrong;
    }
    snprintf(out->address, sizeof(out->address), "%.*s", (int)len, authority);
    out->method = mem_strdup(authority + len + 1);
    return NULL;
}

void participant_url_fini(struct participant_url *url)
{
    free(url->method);
}

void participant_call(struct saga *saga, const char *address, struct wire_call *call,
                      int64_t timeout_ms, const char *wrong, saga_response_cb cb, void *arg)
{
    struct request *request = mem_new(struct request);
    *request = (struct request){.saga = saga, .cb = cb, .arg = arg};
    saga->pending++;
    struct peer *peer = saga->closing || wrong ? NULL : peer_get(saga, address);
    if (!peer) {
        request->refused = saga->closing ? SAGA_E_CANCELLED : wrong ? SAGA_E_INVALID : SAGA_E_BUSY;
        request->why = saga->closing ? "the program is shutting down"
                       : wrong       ? wrong
                                     : "requests to too many participants are in flight";
        loop_defer(saga->loop, &request->task, on_refused, request);
        return;
    }
    struct wire_message message = {.kind = WIRE_CALL, .call = *call};
    message.call.timeout_ms = timeout_ms < UINT32_MAX ? (uint32_t)timeout_ms : UINT32_MAX;
    rpc_client_call(peer->client, &message, deadline_in_ms(saga, timeout_ms), on_reply, request);
}

void saga_request(struct saga *saga, const char *address, const char *method,
                  struct saga_bytes payload, saga_response_cb cb, void *arg)
{
    struct wire_call call = {.method = slice_str(method), .payload = slice_of(payload)};
    participant_call(saga, address, &call, saga->timeout_ms, NULL, cb, arg);
}
