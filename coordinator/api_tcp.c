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
_Static_assert((int)WIRE_BRANCH_OPS_MAX == (int)TXN_BRANCHES_MAX * (int)TXN_BRANCH_OPS,
               "a query reply has room for every op");
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

/* ---- newGid ---- */

static void handle_new_gid(struct rpc_request *request)
{
    char gid[GID_TEXT_SIZE];
    struct wire_message reply = {.kind = WIRE_NEW_GID_REPLY, .new_gid = slice_str(rng_gid(gid))};
    rpc_request_reply(request, &reply);
}

/* ---- what the engine answers ---- */

/* A request that waits for the engine. */
struct pending {
    struct api_tcp *api;
    struct rpc_request *request;
    /* A msg to topics: */
    bool fresh;       /* they were read after the request had come */
    enum err why_err; /* what was wrong with them */
    char *why;
    const struct txn *known; /* the msg as it was prepared */
};

static struct pending *pending_new(struct api_tcp *api, struct rpc_request *request)
{
    struct pending *pending = mem_new(struct pending);
    *pending = (struct pending){.api = api, .request = request};
    return pending;
}

/* They all begin with it. */
static struct slice gid_of(const struct rpc_request *request)
{
    const struct wire_message *message = rpc_request_message(request);
    return message->kind == WIRE_REGISTER ? message->register_branch.gid
           : message->kind == WIRE_ABORT  ? message->abort.gid
                                          : message->submit.gid;
}

static void on_answer(void *arg, const struct engine_answer *answer)
{
    struct pending *pending = arg;
    struct rpc_request *request = pending->request;
    struct metrics *metrics = pending->api->env.metrics;
    free(pending);
    if (answer->err) {
        const char *message =
            answer->message && answer->message[0] ? answer->message : err_text(answer->err);
        fail(request, error_code_of(answer->err), message);
        return;
    }
    if (rpc_request_message(request)->kind == WIRE_SUBMIT && !answer->existed) {
        metrics_submitted(metrics, answer->type);
    }
    struct wire_message reply = {.kind = WIRE_SUBMIT_REPLY,
                                 .submit_reply = {.gid = gid_of(request),
                                                  .status = wire_status_of(answer->status),
                                                  .rollback_reason = answer->rollback_reason}};
    rpc_request_reply(request, &reply);
}

/* ---- submit, prepare ---- */

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

/* Urls that this type does not have are refused, not dropped: somebody meant something. */
static enum err step_of(const struct wire_step *from, enum txn_type type, size_t index,
                        struct txn_step *out, struct reason *reason)
{
    const struct {
        const char *name;
        struct slice url;
        enum txn_op op;
        bool of_tcc;
    } urls[] = {{"action", from->action, OP_ACTION, false},
                {"compensate", from->compensate, OP_UNDO, false},
                {"try_url", from->try_url, OP_ACTION, true},
                {"confirm", from->confirm, OP_CONFIRM, true},
                {"cancel", from->cancel, OP_UNDO, true}};
    *out = (struct txn_step){.payload = from->payload,
                             .request_timeout_ms = from->request_timeout_ms,
                             .retry_interval_ms = from->retry_interval_ms,
                             .after = from->after,
                             .after_count = from->after_count};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        bool known = urls[i].of_tcc == (type == TXN_TCC) && txn_op_name(type, urls[i].op);
        if (known) {
            out->urls[urls[i].op] = urls[i].url;
        } else if (urls[i].url.len > 0) {
            return reason_set(reason, ERR_INVALID, "steps[%zu].%s: a %s has no such op", index,
                              urls[i].name, txn_type_name(type));
        }
    }
    return ERR_OK;
}

/* The members that only some types have. */
static enum err specials_check(const struct wire_submit *submit, enum txn_type type, bool prepare,
                               struct reason *reason)
{
    bool ordered = false;
    for (size_t i = 0; i < submit->step_count; i++) {
        ordered = ordered || submit->steps[i].after_count > 0;
    }
    if (type == TXN_WORKFLOW) {
        return reason_set(reason, ERR_INVALID,
                          "trans_type: a workflow is spoken of over HTTP; must be saga, tcc, msg "
                          "or xa");
    }
    if (submit->concurrent && type != TXN_SAGA && type != TXN_MSG) {
        return reason_set(reason, ERR_INVALID, "concurrent: means nothing for a %s",
                          txn_type_name(type));
    }
    if (ordered && (type != TXN_SAGA || !submit->concurrent)) {
        return reason_set(reason, ERR_INVALID, "steps.after: only for a concurrent saga");
    }
    if (type != TXN_MSG && (submit->delay_ms > 0 || submit->query_prepared.len > 0)) {
        return reason_set(reason, ERR_INVALID, "%s: only for a msg",
                          submit->delay_ms > 0 ? "delay_ms" : "query_prepared");
    }
    if (prepare &&
        (submit->wait_result || type == TXN_SAGA || (type == TXN_TCC && submit->step_count > 0))) {
        return reason_set(reason, ERR_INVALID, "%s",
                          submit->wait_result ? "wait_result: means nothing for prepare"
                          : type == TXN_SAGA
                              ? "trans_type: a saga is not prepared; must be tcc, msg or xa"
                              : "steps: a tcc with declared tries is not prepared but submitted");
    }
    return ERR_OK;
}

/* Room for what the spec points to. */
struct parts {
    struct txn_step steps[WIRE_STEPS_MAX];
    struct txn_header headers[WIRE_HEADERS_MAX];
    struct txn_header *step_headers; /* of all steps, or NULL */
    struct arena arena;              /* of the branches that stand for topics */
};

static void headers_of(const struct wire_header *from, size_t count, struct txn_header *to)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = (struct txn_header){from[i].name, from[i].value};
    }
}

/* Few steps have some of their own. */
static void step_headers_of(const struct wire_submit *submit, struct parts *parts)
{
    size_t count = 0;
    for (size_t i = 0; i < submit->step_count; i++) {
        count += submit->steps[i].header_count;
    }
    parts->step_headers = count > 0 ? mem_alloc(count * sizeof(struct txn_header)) : NULL;
    struct txn_header *at = parts->step_headers;
    for (size_t i = 0; i < submit->step_count; i++) {
        const struct wire_step *step = &submit->steps[i];
        headers_of(step->headers, step->header_count, at);
        parts->steps[i].headers = at;
        parts->steps[i].header_count = step->header_count;
        at = step->header_count > 0 ? at + step->header_count : at;
    }
}

/* Without the checks that all ways to submit share: topics come first. */
static enum err spec_of(const struct wire_submit *submit, bool prepare, struct parts *parts,
                        struct txn_spec *out, struct reason *reason)
{
    const struct wire_options *options = &submit->options;
    *out = (struct txn_spec){
        .prepare = prepare,
        .gid = submit->gid,
        .trans_type = submit->trans_type,
        .options = {.timeout_to_fail_ms = options->timeout_to_fail_ms,
                    .retry_interval_ms = options->retry_interval_ms,
                    .request_timeout_ms = options->request_timeout_ms,
                    .retry_limit = options->retry_limit,
                    .concurrent = submit->concurrent,
                    .keep_results = options->keep_results,
                    .delay_ms = submit->delay_ms,
                    .headers = parts->headers,
                    .header_count = options->header_count},
        .steps = parts->steps,
        .step_count = submit->step_count,
        .custom_data = submit->custom_data,
        .query_prepared = submit->query_prepared,
    };
    headers_of(options->headers, options->header_count, parts->headers);
    enum txn_type type;
    if (txn_type_parse(submit->trans_type, &type)) {
        out->step_count = 0;
        return txn_spec_check(out, reason); /* has the words for it */
    }
    out->options.declared = type == TXN_TCC && submit->step_count > 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < submit->step_count && err == ERR_OK; i++) {
        err = step_of(&submit->steps[i], type, i, &parts->steps[i], reason);
    }
    if (err == ERR_OK) {
        step_headers_of(submit, parts);
        err = specials_check(submit, type, prepare, reason);
    }
    return err;
}

static void spec_go(struct pending *pending, const struct txn_spec *spec, struct engine_wait wait)
{
    struct engine *engine = pending->api->env.engine;
    if (spec->prepare) {
        engine_prepare(engine, spec, on_answer, pending);
    } else {
        engine_submit(engine, spec, wait, on_answer, pending);
    }
}

static void pending_fail(struct pending *pending, enum err err, const char *message)
{
    fail(pending->request, error_code_of(err), message);
    free(pending->why);
    free(pending);
}

/* ---- a msg to topics ---- */

static void submit_step(struct pending *pending);

static void on_topics(void *arg, enum err err, const char *message)
{
    struct pending *pending = arg;
    pending->fresh = true;
    if (err) {
        pending_fail(pending, ERR_UNAVAILABLE, message[0] ? message : "the topics cannot be read");
    } else {
        submit_step(pending);
    }
}

/* Of a topic that is gone, or has grown too large: a msg that is known keeps the branches that it
 * got when it was prepared. */
static void on_known(void *arg, const struct archive_record *record)
{
    struct pending *pending = arg;
    if (record->status == STORE_OK && record->txn->type == TXN_MSG) {
        pending->known = record->txn;
        submit_step(pending);
    } else if (record->status == STORE_OK || record->status == STORE_NOT_FOUND) {
        pending_fail(pending, pending->why_err, pending->why);
    } else {
        pending_fail(pending, ERR_UNAVAILABLE, record->message);
    }
}

static void steps_take(const struct txn *txn, struct parts *parts, struct txn_spec *spec)
{
    spec->step_count = txn->branch_count < WIRE_STEPS_MAX ? txn->branch_count : WIRE_STEPS_MAX;
    for (size_t i = 0; i < spec->step_count; i++) {
        const struct txn_branch *branch = &txn->branches[i];
        parts->steps[i] = (struct txn_step){.id = branch->id,
                                            .urls = {[OP_ACTION] = branch->ops[OP_ACTION].url},
                                            .payload = branch->payload};
    }
}

/* Puts the subscribers in place of the topics. False: answered, or to be done later. */
static bool topics_place(struct pending *pending, struct parts *parts, struct txn_spec *spec)
{
    const struct api_tcp_env *env = &pending->api->env;
    const struct topic_book *book = env->topics ? topics_book(env->topics) : NULL;
    struct reason reason = {.text = "the topics cannot be read"};
    enum err err = book ? topics_expand(book, spec, &parts->arena, &reason) : ERR_UNAVAILABLE;
    if (!err) {
        return true;
    }
    if (env->topics && !pending->fresh && (err == ERR_NOT_FOUND || err == ERR_UNAVAILABLE)) {
        /* Another coordinator may have heard of the topic a moment ago. */
        topics_refresh(env->topics, on_topics, pending);
    } else if (err == ERR_UNAVAILABLE) {
        pending_fail(pending, err, reason.text);
    } else {
        pending->why_err = err;
        pending->why = mem_strdup(reason.text);
        env->archive->ops->read(env->archive, spec->gid, on_known, pending);
    }
    return false;
}

/* ---- from the request to the engine ---- */

static enum err submit_decode(const struct pending *pending, struct parts *parts,
                              struct txn_spec *spec, struct engine_wait *wait,
                              struct reason *reason)
{
    const struct wire_message *message = rpc_request_message(pending->request);
    enum err err = wait_of(&message->submit, wait, reason);
    if (err == ERR_OK) {
        err = spec_of(&message->submit, message->kind == WIRE_PREPARE, parts, spec, reason);
    }
    if (err == ERR_OK && pending->known) {
        steps_take(pending->known, parts, spec);
    }
    return err;
}

static void submit_parts(struct pending *pending, struct parts *parts)
{
    struct txn_spec spec;
    struct engine_wait wait;
    struct reason reason;
    enum err err = submit_decode(pending, parts, &spec, &wait, &reason);
    if (!err && topics_are_named(&spec) && !topics_place(pending, parts, &spec)) {
        return;
    }
    if (!err) {
        err = txn_spec_check(&spec, &reason);
    }
    free(pending->why);
    pending->why = NULL;
    if (err) {
        fail_invalid(pending->request, &reason);
        free(pending);
    } else {
        spec_go(pending, &spec, wait);
    }
}

static void submit_step(struct pending *pending)
{
    struct parts parts;
    parts.step_headers = NULL;
    parts.arena = (struct arena){0};
    submit_parts(pending, &parts);
    free(parts.step_headers);
    arena_fini(&parts.arena);
}

/* ---- register, abort ---- */

static enum err branch_of(const struct wire_register *from, struct store_branch *out,
                          struct reason *reason)
{
    *out = (struct store_branch){.id = from->branch_id,
                                 .urls = {[OP_CONFIRM] = from->confirm, [OP_UNDO] = from->cancel},
                                 .payload = from->payload};
    if (txn_type_parse(from->trans_type, &out->type) ||
        (out->type != TXN_TCC && out->type != TXN_XA)) {
        return reason_set(reason, ERR_INVALID,
                          "trans_type: must be tcc or xa; others have steps (a workflow is spoken "
                          "of over HTTP)");
    }
    if (from->payload.len > TXN_PAYLOAD_MAX) {
        return reason_set(reason, ERR_INVALID, "payload: has %zu bytes; at most %d",
                          from->payload.len, TXN_PAYLOAD_MAX);
    }
    enum err err = txn_gid_check(from->gid, reason);
    if (err == ERR_OK) {
        err = txn_branch_id_check(from->branch_id, reason);
    }
    if (err == ERR_OK) {
        err = txn_url_check(from->confirm, "confirm", reason);
    }
    return err == ERR_OK ? txn_url_check(from->cancel, "cancel", reason) : err;
}

static void handle_register(struct api_tcp *api, struct rpc_request *request)
{
    const struct wire_register *from = &rpc_request_message(request)->register_branch;
    struct store_branch branch;
    struct reason reason;
    if (branch_of(from, &branch, &reason)) {
        fail_invalid(request, &reason);
        return;
    }
    engine_register(api->env.engine, from->gid, &branch, on_answer, pending_new(api, request));
}

static void handle_abort(struct api_tcp *api, struct rpc_request *request)
{
    const struct wire_abort *from = &rpc_request_message(request)->abort;
    struct reason reason;
    if (txn_gid_check(from->gid, &reason)) {
        fail_invalid(request, &reason);
        return;
    }
    engine_abort(api->env.engine, from->gid, from->reason, on_answer, pending_new(api, request));
}

/* ---- query ---- */

/* DTM's order: the way back first. Returns how many there are. */
static size_t list_ops(const struct txn *txn, struct wire_branch_op *ops)
{
    size_t count = 0;
    for (size_t i = 0; i < txn->branch_count * TXN_BRANCH_OPS; i++) {
        const struct txn_branch *branch = &txn->branches[i / TXN_BRANCH_OPS];
        enum txn_op op = (enum txn_op)(TXN_BRANCH_OPS - 1 - i % TXN_BRANCH_OPS);
        const char *name = txn_op_name(txn->type, op);
        /* a try that the client calls by itself: nothing is known of it */
        bool own = op == OP_ACTION && txn->type == TXN_TCC && !txn->options.declared;
        if (name && !own) {
            ops[count++] = (struct wire_branch_op){
                .branch_id = branch->id,
                .op = slice_str(name),
                .url = branch->ops[op].url,
                .status = wire_status_of_op(branch->ops[op].status),
                .result = op == OP_ACTION ? branch->result : (struct slice){0}};
        }
    }
    for (size_t i = 0; i < txn->progress_count && count < WIRE_BRANCH_OPS_MAX; i++) {
        const struct txn_progress *progress = &txn->progress[i];
        ops[count++] = (struct wire_branch_op){.branch_id = progress->id,
                                               .op = progress->op,
                                               .status = wire_status_of_op(progress->status)};
    }
    return count;
}

static void reply_record(struct rpc_request *request, const struct archive_record *record)
{
    const struct txn *txn = record->txn;
    size_t lines = record->line_count < WIRE_HISTORY_MAX ? record->line_count : WIRE_HISTORY_MAX;
    size_t skipped = record->line_count - lines; /* the oldest ones */
    struct wire_branch_op *ops =
        mem_zalloc((txn->branch_count * TXN_BRANCH_OPS + txn->progress_count + 1) * sizeof(*ops));
    size_t op_count = list_ops(txn, ops);
    struct wire_history_entry *history = mem_zalloc((lines + 1) * sizeof(*history));
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
    case WIRE_SUBMIT:
    case WIRE_PREPARE: submit_step(pending_new(api, request)); return;
    case WIRE_QUERY: handle_query(api, request); return;
    case WIRE_REGISTER: handle_register(api, request); return;
    case WIRE_ABORT: handle_abort(api, request); return;
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_ERROR:
    case WIRE_NEW_GID_REPLY:
    case WIRE_SUBMIT_REPLY:
    case WIRE_QUERY_REPLY:
    case WIRE_CALL:
    case WIRE_CALL_REPLY:
        rpc_request_fail(request, WIRE_ERROR_INVALID, "body",
                         "a coordinator takes new_gid, submit, prepare, register_branch, abort and "
                         "query");
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
