#include "coordinator/api_tcp.h"

#include "base/mem.h"
#include "base/rng.h"
#include "wire/rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_AFTER_MS = 1000, WAIT_TIMEOUT_MS_MAX = 600 * 1000 };

struct api_tcp {
    struct api_tcp_env env;
    struct rpc_server *server;
};

_Static_assert((int)WIRE_STEPS_MAX <= (int)TXN_BRANCHES_MAX, "a decoded submit fits");
_Static_assert((int)WIRE_HEADERS_MAX <= (int)TXN_HEADERS_MAX, "a decoded submit fits");

static enum wire_status wire_status_of(enum txn_status status)
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

static enum wire_status wire_status_of_op(enum op_status status)
{
    switch (status) {
    case OP_PREPARED:
    case OP_STARTED: return WIRE_STATUS_PREPARED;
    case OP_SUCCEED: return WIRE_STATUS_SUCCEED;
    case OP_FAILED: return WIRE_STATUS_FAILED;
    }
    return WIRE_STATUS_UNSPECIFIED;
}

/* ---- errors ---- */

static void fail(struct rpc_request *request, enum wire_error_code code, const char *message)
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

/* The texts of txn_check.c begin with the field: "steps[2].action: …". */
static void fail_invalid(struct rpc_request *request, const struct reason *reason)
{
    char field[64] = "";
    const char *colon = strchr(reason->text, ':');
    if (colon && (size_t)(colon - reason->text) < sizeof(field)) {
        snprintf(field, sizeof(field), "%.*s", (int)(colon - reason->text), reason->text);
    }
    rpc_request_fail(request, WIRE_ERROR_INVALID, strchr(field, ' ') ? "" : field, reason->text);
}

static enum wire_error_code error_code_of(enum err err)
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

/* ---- newGid, submit ---- */

static void handle_new_gid(struct rpc_request *request)
{
    char gid[GID_TEXT_SIZE];
    struct wire_message reply = {.kind = WIRE_NEW_GID_REPLY, .new_gid = slice_str(rng_gid(gid))};
    rpc_request_reply(request, &reply);
}

/* A submit that waits for the engine. */
struct submitting {
    struct api_tcp *api;
    struct rpc_request *request;
};

static void on_submitted(void *arg, const struct engine_answer *answer)
{
    struct submitting *submitting = arg;
    struct rpc_request *request = submitting->request;
    struct metrics *metrics = submitting->api->env.metrics;
    free(submitting);
    if (answer->err) {
        const char *message =
            answer->message && answer->message[0] ? answer->message : err_text(answer->err);
        fail(request, error_code_of(answer->err), message);
        return;
    }
    if (!answer->existed) {
        metrics_submitted(metrics, answer->type);
    }
    struct wire_message reply = {.kind = WIRE_SUBMIT_REPLY,
                                 .submit_reply = {.gid = rpc_request_message(request)->submit.gid,
                                                  .status = wire_status_of(answer->status),
                                                  .rollback_reason = answer->rollback_reason}};
    rpc_request_reply(request, &reply);
}

static enum err wait_of(const struct wire_submit *submit, struct engine_wait *out,
                        struct reason *reason)
{
    *out = (struct engine_wait){.mode = ENGINE_WAIT_STORED, .wait_ms = submit->wait_timeout_ms};
    if (submit->wait_timeout_ms > WAIT_TIMEOUT_MS_MAX) {
        return reason_set(reason, ERR_INVALID, "wait_timeout_ms: %u is over %d",
                          submit->wait_timeout_ms, WAIT_TIMEOUT_MS_MAX);
    }
    if (submit->wait_timeout_ms > 0 && !submit->wait_result) {
        return reason_set(reason, ERR_INVALID,
                          "wait_timeout_ms: means nothing without wait_result");
    }
    if (submit->wait_result) {
        out->mode = submit->wait_timeout_ms > 0 ? ENGINE_WAIT_END : ENGINE_WAIT_SETTLE;
    }
    return ERR_OK;
}

static void handle_submit(struct api_tcp *api, struct rpc_request *request)
{
    const struct wire_submit *submit = &rpc_request_message(request)->submit;
    struct txn_step steps[WIRE_STEPS_MAX];
    struct txn_header headers[WIRE_HEADERS_MAX];
    for (size_t i = 0; i < submit->step_count; i++) {
        const struct wire_step *step = &submit->steps[i];
        steps[i] =
            (struct txn_step){.urls = {[OP_ACTION] = step->action, [OP_UNDO] = step->compensate},
                              .payload = step->payload};
    }
    for (size_t i = 0; i < submit->options.header_count; i++) {
        const struct wire_header *header = &submit->options.headers[i];
        headers[i] = (struct txn_header){header->name, header->value};
    }
    struct txn_spec spec = {
        .gid = submit->gid,
        .trans_type = submit->trans_type,
        .options = {.timeout_to_fail_ms = submit->options.timeout_to_fail_ms,
                    .retry_interval_ms = submit->options.retry_interval_ms,
                    .request_timeout_ms = submit->options.request_timeout_ms,
                    .retry_limit = submit->options.retry_limit,
                    .headers = headers,
                    .header_count = submit->options.header_count},
        .steps = steps,
        .step_count = submit->step_count,
    };
    struct engine_wait wait;
    struct reason reason;
    if (wait_of(submit, &wait, &reason) || txn_spec_check(&spec, &reason)) {
        fail_invalid(request, &reason);
        return;
    }
    struct submitting *submitting = mem_new(struct submitting);
    *submitting = (struct submitting){api, request};
    engine_submit(api->env.engine, &spec, wait, on_submitted, submitting);
}

/* ---- query ---- */

static void reply_record(struct rpc_request *request, const struct archive_record *record)
{
    const struct txn *txn = record->txn;
    size_t lines = record->line_count < WIRE_HISTORY_MAX ? record->line_count : WIRE_HISTORY_MAX;
    size_t skipped = record->line_count - lines; /* the oldest ones */
    struct wire_branch_op *ops =
        mem_zalloc((txn->branch_count * TXN_BRANCH_OPS + 1) * sizeof(*ops));
    struct wire_history_entry *history = mem_zalloc((lines + 1) * sizeof(*history));
    size_t op_count = 0;
    for (size_t i = 0; i < txn->branch_count * TXN_BRANCH_OPS; i++) {
        const struct txn_branch *branch = &txn->branches[i / TXN_BRANCH_OPS];
        /* DTM's order: the way back first */
        enum txn_op op = (enum txn_op)(TXN_BRANCH_OPS - 1 - i % TXN_BRANCH_OPS);
        const char *name = txn_op_name(txn->type, op);
        if (name) {
            ops[op_count++] =
                (struct wire_branch_op){branch->id, slice_str(name), branch->ops[op].url,
                                        wire_status_of_op(branch->ops[op].status)};
        }
    }
    for (size_t i = 0; i < lines; i++) {
        const struct archive_line *line = &record->lines[skipped + i];
        history[i] = (struct wire_history_entry){line->time_ms, line->op, line->result,
                                                 line->duration_ms, line->note};
    }
    struct wire_message reply = {.kind = WIRE_QUERY_REPLY,
                                 .query_reply = {.found = true,
                                                 .gid = txn->gid,
                                                 .trans_type = slice_str(txn_type_name(txn->type)),
                                                 .status = wire_status_of(txn->status),
                                                 .rollback_reason = txn->rollback_reason,
                                                 .create_time_ms = txn->created_ms,
                                                 .update_time_ms = txn->updated_ms,
                                                 .branches = ops,
                                                 .branch_count = op_count,
                                                 .history = history,
                                                 .history_count = lines}};
    rpc_request_reply(request, &reply);
    free(ops);
    free(history);
}

static void on_record(void *arg, const struct archive_record *record)
{
    struct rpc_request *request = arg;
    if (record->status == STORE_OK) {
        reply_record(request, record);
    } else if (record->status == STORE_NOT_FOUND) {
        struct wire_message reply = {
            .kind = WIRE_QUERY_REPLY,
            .query_reply = {.gid = rpc_request_message(request)->query_gid}};
        rpc_request_reply(request, &reply);
    } else {
        fail(request, WIRE_ERROR_UNAVAILABLE, record->message);
    }
}

static void handle_query(struct api_tcp *api, struct rpc_request *request)
{
    struct slice gid = rpc_request_message(request)->query_gid;
    struct reason reason;
    if (txn_gid_check(gid, &reason)) {
        fail_invalid(request, &reason);
        return;
    }
    api->env.archive->ops->read(api->env.archive, gid, on_record, request);
}

/* ---- the server ---- */

static void on_request(void *arg, struct rpc_request *request)
{
    struct api_tcp *api = arg;
    switch (rpc_request_message(request)->kind) {
    case WIRE_NEW_GID: handle_new_gid(request); return;
    case WIRE_SUBMIT: handle_submit(api, request); return;
    case WIRE_QUERY: handle_query(api, request); return;
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_ERROR:
    case WIRE_NEW_GID_REPLY:
    case WIRE_SUBMIT_REPLY:
    case WIRE_QUERY_REPLY:
    case WIRE_CALL:
    case WIRE_CALL_REPLY:
        rpc_request_fail(request, WIRE_ERROR_INVALID, "body",
                         "a coordinator takes new_gid, submit and query");
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
        .reuse_port = conf->reuse_port,
        .limits = rpc_limits_default,
    };
    server.limits.in_flight_max = conf->in_flight_max;
    server.limits.frame_max = conf->frame_max;
    api->env = *env;
    api->server = rpc_server_open(env->loop, &server, on_request, api, reason);
    if (!api->server) {
        free(api);
        return NULL;
    }
    return api;
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

void api_tcp_free(struct api_tcp *api)
{
    rpc_server_free(api->server);
    free(api);
}
