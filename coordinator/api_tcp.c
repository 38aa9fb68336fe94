#include "coordinator/api_tcp_call.h"

#include "base/fault.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_AFTER_MS = 1000 };

enum wire_status tcp_status_of(enum txn_status status)
{
    switch (status) {
    case TXN_PREPARED: return WIRE_STATUS_PREPARED;
    case TXN_SUBMITTED: return WIRE_STATUS_SUBMITTED;
    case TXN_ABORTING: return WIRE_STATUS_ABORTING;
    case TXN_SUCCEED: return WIRE_STATUS_SUCCEED;
    case TXN_FAILED: return WIRE_STATUS_FAILED;
    }
    return WIRE_STATUS_UNSPECIFIED;
}

/* ---- errors ---- */

void tcp_fail(struct rpc_request *request, enum wire_error_code code, const char *message)
{
    struct wire_message reply = {
        .kind = WIRE_ERROR,
        .error = {.code = code,
                  .message = slice_str(message),
                  .retry_after_ms = code == WIRE_ERROR_BUSY || code == WIRE_ERROR_UNAVAILABLE
                                        ? RETRY_AFTER_MS
                                        : 0}};
    rpc_request_reply(request, &reply);
}

void tcp_fail_invalid(struct rpc_request *request, const struct reason *reason)
{
    char field[64] = "";
    const char *colon = strchr(reason->text, ':');
    if (colon && (size_t)(colon - reason->text) < sizeof(field)) {
        snprintf(field, sizeof(field), "%.*s", (int)(colon - reason->text), reason->text);
    }
    rpc_request_fail(request, WIRE_ERROR_INVALID, strchr(field, ' ') ? "" : field, reason->text);
}

enum wire_error_code tcp_error_code(enum err err)
{
    switch (err) {
    case ERR_INVALID: return WIRE_ERROR_INVALID;
    case ERR_LIMIT: return WIRE_ERROR_LIMIT;
    case ERR_BUSY: return WIRE_ERROR_BUSY;
    case ERR_NOT_FOUND: return WIRE_ERROR_NOT_FOUND;
    case ERR_CONFLICT: return WIRE_ERROR_CONFLICT;
    case ERR_DENIED: return WIRE_ERROR_DENIED;
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_CONNECT:
    case ERR_CLOSED:
    case ERR_CANCELLED: return WIRE_ERROR_UNAVAILABLE;
    case ERR_OK:
    case ERR_PROTOCOL:
    case ERR_SCRIPT:
    case ERR_SYSTEM: return WIRE_ERROR_INTERNAL;
    }
    return WIRE_ERROR_INTERNAL;
}

/* ---- newGid ---- */

static void handle_new_gid(struct rpc_request *request)
{
    char gid[GID_TEXT_SIZE];
    struct wire_message reply = {.kind = WIRE_NEW_GID_REPLY, .new_gid = slice_str(rng_gid(gid))};
    rpc_request_reply(request, &reply);
}

/* ---- what the engine answers ---- */

struct tcp_call *tcp_call_new(struct api_tcp *api, struct rpc_request *request)
{
    struct tcp_call *call = mem_new(struct tcp_call);
    *call = (struct tcp_call){.api = api, .request = request};
    return call;
}

/* They all begin with it. */
static struct slice gid_of(const struct rpc_request *request)
{
    const struct wire_message *message = rpc_request_message(request);
    return message->kind == WIRE_REGISTER ? message->register_branch.gid
           : message->kind == WIRE_ABORT  ? message->abort.gid
           : message->kind == WIRE_FINISH ? message->finish.gid
                                          : message->submit.gid;
}

void tcp_answer(void *arg, const struct engine_answer *answer)
{
    struct tcp_call *call = arg;
    struct rpc_request *request = call->request;
    free(call);
    if (FAULT("api_tcp.before_reply")) {
        rpc_request_drop(request);
        return;
    }
    if (answer->err) {
        const char *message =
            answer->message && answer->message[0] ? answer->message : err_text(answer->err);
        tcp_fail(request, tcp_error_code(answer->err), message);
        return;
    }
    struct wire_message reply = {.kind = WIRE_SUBMIT_REPLY,
                                 .submit_reply = {.gid = gid_of(request),
                                                  .status = tcp_status_of(answer->status),
                                                  .rollback_reason = answer->rollback_reason}};
    rpc_request_reply(request, &reply);
}

/* ---- abort ---- */

static void handle_abort(struct api_tcp *api, struct rpc_request *request)
{
    const struct wire_abort *from = &rpc_request_message(request)->abort;
    struct reason reason;
    if (txn_gid_check(from->gid, &reason)) {
        tcp_fail_invalid(request, &reason);
        return;
    }
    engine_abort(api->env.engine, from->gid, from->reason, tcp_answer, tcp_call_new(api, request));
}

/* ---- the server ---- */

static void on_request(void *arg, struct rpc_request *request)
{
    struct api_tcp *api = arg;
    switch (rpc_request_message(request)->kind) {
    case WIRE_NEW_GID: handle_new_gid(request); return;
    case WIRE_SUBMIT:
    case WIRE_PREPARE: tcp_handle_submit(api, request); return;
    case WIRE_QUERY: tcp_handle_query(api, request); return;
    case WIRE_REGISTER: tcp_handle_register(api, request); return;
    case WIRE_ABORT: handle_abort(api, request); return;
    case WIRE_WORKFLOW: tcp_handle_workflow(api, request); return;
    case WIRE_FINISH: tcp_handle_finish(api, request); return;
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_ERROR:
    case WIRE_NEW_GID_REPLY:
    case WIRE_SUBMIT_REPLY:
    case WIRE_QUERY_REPLY:
    case WIRE_CALL:
    case WIRE_CALL_REPLY:
        rpc_request_fail(request, WIRE_ERROR_INVALID, "body",
                         "a coordinator takes new_gid, submit, prepare, register_branch, abort, "
                         "workflow, finish and query");
        return;
    }
}

struct api_tcp *api_tcp_open(const struct api_tcp_conf *conf, const struct api_tcp_env *env,
                             struct reason *reason)
{
    struct api_tcp *api = mem_new(struct api_tcp);
    struct rpc_server_conf server = {
        .address = conf->address,
        .program = conf->program,
        .token = conf->token,
        .connections_max = conf->connections_max,
        .client_max = conf->client_max,
        .reuse_port = conf->reuse_port,
        .limits = rpc_limits_default,
    };
    server.limits.in_flight_max = conf->in_flight_max;
    server.limits.frame_max = conf->frame_max;
    server.limits.quota = conf->quota;
    api->env = *env;
    api->server = rpc_server_open(env->loop, &server, on_request, api, reason);
    if (!api->server) {
        free(api);
        return NULL;
    }
    return api;
}

void api_tcp_set_token(struct api_tcp *api, const char *token)
{
    rpc_server_set_token(api->server, token);
}

int api_tcp_port(const struct api_tcp *api)
{
    return rpc_server_port(api->server);
}

void api_tcp_drain(struct api_tcp *api)
{
    rpc_server_drain(api->server);
}

int api_tcp_in_flight(const struct api_tcp *api)
{
    return rpc_server_in_flight(api->server);
}

int api_tcp_connections(const struct api_tcp *api)
{
    return rpc_server_connections(api->server);
}

uint64_t api_tcp_refused(const struct api_tcp *api)
{
    return rpc_server_refused(api->server);
}

void api_tcp_free(struct api_tcp *api)
{
    rpc_server_free(api->server);
    free(api);
}
