/* Serving: which handler gets a call, and its answer. */
#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "saga_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

enum {
    GID_CHARS_MAX = 128, /* the coordinator's limit */
    NAME_CHARS_MAX = 64, /* branch id and transaction type */
    OP_CHARS_MAX = 256,  /* the resume of a workflow has its name */
    MESSAGE_MAX = 1000,  /* bytes of an answer's message */
};

/* ---- methods ---- */

static struct method *method_get(struct saga *saga, const char *name)
{
    struct method *method;
    HASH_FIND_STR(saga->methods, name, method);
    if (!method) {
        method = mem_new(struct method);
        method->name = mem_strdup(name);
        HASH_ADD_KEYPTR(hh, saga->methods, method->name, strlen(method->name), method);
    }
    return method;
}

void saga_on_branch(struct saga *saga, const char *method, saga_handler handler, void *arg)
{
    method_get(saga, method)->branch = (struct handler){handler, arg};
}

void saga_on_request(struct saga *saga, const char *method, saga_handler handler, void *arg)
{
    method_get(saga, method)->request = (struct handler){handler, arg};
}

/* ---- calls ---- */

static struct saga_call *call_new(struct saga *saga, struct rpc_request *request)
{
    struct saga_call *call = saga->free_calls;
    if (call) {
        LL_DELETE(saga->free_calls, call);
        *call = (struct saga_call){0};
    } else {
        call = mem_new(struct saga_call);
    }
    call->saga = saga;
    call->request = request;
    call->call = &rpc_request_message(request)->call;
    uint32_t timeout_ms = call->call->timeout_ms;
    call->deadline_ms = timeout_ms ? loop_now_ms(saga->loop) + timeout_ms : INT64_MAX;
    DL_APPEND(saga->calls, call);
    return call;
}

static void call_release(struct saga_call *call)
{
    struct saga *saga = call->saga;
    check(call->request && !call->evaluating); /* answered twice, or before its script */
    call->request = NULL;
    DL_DELETE(saga->calls, call);
    LL_PREPEND(saga->free_calls, call);
}

static enum wire_result result_to_wire(enum saga_result result)
{
    switch (result) {
    case SAGA_SUCCESS: return WIRE_SUCCESS;
    case SAGA_FAILURE: return WIRE_FAILURE;
    case SAGA_ONGOING: return WIRE_ONGOING;
    case SAGA_ERROR: return WIRE_RESULT_ERROR;
    case SAGA_RESULT_CONFLICT: return WIRE_RESULT_CONFLICT;
    }
    unreachable("saga_result");
}

/* The protocol wants UTF-8; a script's reason may be anything. */
static struct slice message_clean(struct slice message, char out[MESSAGE_MAX + 1])
{
    if (message.len <= MESSAGE_MAX && utf8_is_valid(message)) {
        return message;
    }
    return slice_str(slice_printable(message, out, MESSAGE_MAX + 1));
}

void call_answer(struct saga_call *call, enum saga_result result, struct slice payload,
                 struct slice message)
{
    char clean[MESSAGE_MAX + 1];
    struct wire_message reply = {
        .kind = WIRE_CALL_REPLY,
        .call_reply = {.result = result_to_wire(result),
                       .payload = payload,
                       .message = message_clean(message, clean)},
    };
    struct rpc_request *request = call->request;
    call_release(call);
    if (FAULT("participant.before_reply")) {
        rpc_request_drop(request);
        return;
    }
    rpc_request_reply(request, &reply);
}

void saga_call_reply(struct saga_call *call, enum saga_result result, struct saga_bytes payload,
                     const char *message)
{
    call_answer(call, result, slice_of(payload), slice_str(message));
}

void saga_call_drop(struct saga_call *call)
{
    struct rpc_request *request = call->request;
    call_release(call);
    rpc_request_drop(request);
}

void call_pass_on(struct saga_call *call)
{
    struct rpc_request *request = call->request;
    call_release(call);
    rpc_request_fail(request, WIRE_ERROR_UNAVAILABLE, NULL, "the participant is shutting down");
}

/* ---- routing ---- */

static bool text_is_good(struct slice text, size_t chars_max)
{
    return text.len > 0 && text.len <= 4 * chars_max && utf8_is_valid(text) &&
           !utf8_has_control(text) && utf8_length(text) <= chars_max;
}

/* Whether a branch call says which branch it is. */
static bool branch_is_good(const struct wire_call *call, struct reason *why)
{
    const struct {
        const char *name;
        struct slice value;
        size_t chars_max;
    } fields[] = {{"gid", call->gid, GID_CHARS_MAX},
                  {"branch_id", call->branch_id, NAME_CHARS_MAX},
                  {"op", call->op, OP_CHARS_MAX},
                  {"trans_type", call->trans_type, NAME_CHARS_MAX}};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].value.len == 0) {
            (void)reason_set(why, ERR_INVALID,
                             "%s is missing: '%.*s' is a branch of a transaction and serves calls "
                             "with gid, branch_id, op and trans_type only",
                             fields[i].name, SLICE_ARG(call->method));
            return false;
        }
        if (!text_is_good(fields[i].value, fields[i].chars_max)) {
            (void)reason_set(why, ERR_INVALID,
                             "%s must be UTF-8 of at most %zu characters without control "
                             "characters",
                             fields[i].name, fields[i].chars_max);
            return false;
        }
    }
    return true;
}

static void why_unknown(const struct saga *saga, struct slice name, struct reason *why)
{
    struct buf known = {0};
    for (const struct method *m = saga->methods; m; m = m->hh.next) {
        buf_printf(&known, "%s%s", known.len ? ", " : "", m->name);
    }
    char printable[100];
    (void)reason_set(why, ERR_NOT_FOUND, "no such method '%s'; known: %s",
                     slice_printable(name, printable, sizeof(printable)), known.data);
    buf_fini(&known);
}

/* The handler of a call, or NULL with the reason. Nothing of a branch set: a plain request. */
static const struct handler *route(const struct saga *saga, const struct wire_call *call,
                                   struct reason *why)
{
    struct method *method = NULL;
    HASH_FIND(hh, saga->methods, call->method.ptr, call->method.len, method);
    if (!method) {
        why_unknown(saga, call->method, why);
        return NULL;
    }
    bool plain = call->gid.len + call->branch_id.len + call->op.len + call->trans_type.len == 0;
    if (plain && method->request.fn) {
        return &method->request;
    }
    if (!method->branch.fn) {
        (void)reason_set(why, ERR_INVALID,
                         "'%s' is not a branch: it serves plain requests, without a gid",
                         method->name);
        return NULL;
    }
    return branch_is_good(call, why) ? &method->branch : NULL;
}

void participant_serve(void *arg, struct rpc_request *request)
{
    struct saga *saga = arg;
    if (saga->closing || FAULT("participant.before_call")) {
        rpc_request_drop(request);
        return;
    }
    if (rpc_request_message(request)->kind != WIRE_CALL) {
        rpc_request_fail(request, WIRE_ERROR_INVALID, "",
                         "this is a participant: it serves calls only");
        return;
    }
    if (!saga->methods) { /* its program is not ready: the coordinator tries another instance */
        rpc_request_fail(request, WIRE_ERROR_UNAVAILABLE, NULL, "the participant is starting");
        return;
    }
    struct reason why = {.text = ""};
    struct saga_call *call = call_new(saga, request);
    const struct handler *handler = route(saga, call->call, &why);
    if (!handler) {
        call_answer(call, SAGA_ERROR, (struct slice){0}, slice_str(why.text));
        return;
    }
    handler->fn(handler->arg, call);
}

static void methods_free(struct saga *saga)
{
    struct method *method, *next;
    HASH_ITER(hh, saga->methods, method, next)
    {
        HASH_DEL(saga->methods, method);
        free(method->name);
        free(method);
    }
}

void participant_fini(struct saga *saga)
{
    while (saga->calls) {
        saga_call_drop(saga->calls);
    }
    while (saga->free_calls) {
        struct saga_call *call = saga->free_calls;
        LL_DELETE(saga->free_calls, call);
        free(call);
    }
    if (saga->server) {
        rpc_server_free(saga->server);
    }
    methods_free(saga);
}

/* ---- what a call says ---- */

struct saga_bytes saga_call_payload(const struct saga_call *call)
{
    return bytes_of(call->call->payload);
}

struct saga_bytes saga_call_gid(const struct saga_call *call)
{
    return bytes_of(call->call->gid);
}

struct saga_bytes saga_call_branch_id(const struct saga_call *call)
{
    return bytes_of(call->call->branch_id);
}

struct saga_bytes saga_call_op(const struct saga_call *call)
{
    return bytes_of(call->call->op);
}

struct saga_bytes saga_call_trans_type(const struct saga_call *call)
{
    return bytes_of(call->call->trans_type);
}

struct saga_bytes saga_call_traceparent(const struct saga_call *call)
{
    return bytes_of(call->call->traceparent);
}

struct saga_bytes saga_call_header(const struct saga_call *call, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < call->call->header_count; i++) {
        const struct wire_header *header = &call->call->headers[i];
        if (header->name.len == len && strncasecmp(header->name.ptr, name, len) == 0) {
            return bytes_of(header->value);
        }
    }
    return (struct saga_bytes){0};
}

bool saga_call_is_undo(const struct saga_call *call)
{
    struct slice op = call->call->op;
    return slice_eq_str(op, "compensate") || slice_eq_str(op, "cancel") ||
           slice_eq_str(op, "rollback");
}
