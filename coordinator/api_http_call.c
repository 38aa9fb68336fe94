#include "coordinator/api_http_call.h"

#include "base/fault.h"
#include "base/mem.h"
#include "coordinator/api_http_submit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

static const char json_type[] = "application/json; charset=utf-8";
static const char retry_after_s[] = "1";

struct api_call *api_call_new(struct api_http *api, struct http_request *request, int route)
{
    struct api_call *call = mem_new(struct api_call);
    call->api = api;
    call->request = request;
    call->route = route;
    call->started_us = loop_now_us(api->env.loop);
    DL_APPEND(api->calls, call);
    return call;
}

void api_call_free(struct api_call *call)
{
    DL_DELETE(call->api->calls, call);
    free((char *)(uintptr_t)call->gid.ptr);
    free((char *)(uintptr_t)call->rpc_id.ptr);
    json_free(call->params);
    if (call->submit) {
        submit_request_fini(call->submit);
        free(call->submit);
    }
    free(call);
}

void api_call_keep_gid(struct api_call *call, struct slice gid)
{
    call->gid = slice_make(slice_dup(gid), gid.len);
}

/* ---- answers ---- */

static void call_end(struct api_call *call, int status, const char *type, struct slice body)
{
    struct api_http *api = call->api;
    status = FAULT("api_http.before_reply") ? 500 : status;
    status = http_reply(call->request, status, type, body);
    metrics_http(api->env.metrics, call->route, status,
                 loop_now_us(api->env.loop) - call->started_us);
    api_call_free(call);
}

enum { RPC_BAD_REQUEST = -32600, RPC_OTHER = -32603, RPC_FAILURE = -32901, RPC_ONGOING = -32902 };

static int rpc_code(int status)
{
    return status == 409   ? RPC_FAILURE
           : status == 425 ? RPC_ONGOING
           : status == 400 ? RPC_BAD_REQUEST
                           : RPC_OTHER;
}

/* `code` 0: no error. */
static void rpc_answer(struct api_call *call, int status, int code, struct slice message,
                       struct slice result)
{
    struct buf body = {0};
    struct json_writer w;
    json_writer_init(&w, &body);
    json_open_object(&w, NULL);
    if (code == 0) {
        json_put_null(&w, "error");
    } else {
        json_open_object(&w, "error");
        json_put_int(&w, "code", code);
        json_put_string(&w, "message", message);
        json_close_object(&w);
    }
    if (call->rpc_id.len > 0) {
        json_put_string(&w, "id", call->rpc_id);
    } else {
        json_put_null(&w, "id");
    }
    json_put_text(&w, "jsonrpc", "2.0");
    if (code == 0) {
        json_put_raw(&w, "result", result);
    }
    json_close_object(&w);
    call_end(call, status, json_type, buf_slice(&body));
    buf_fini(&body);
}

void api_reply_rpc_error(struct api_call *call, int status, int code, const char *message)
{
    rpc_answer(call, status, code, slice_str(message), slice_str(NULL));
}

static void call_answer(struct api_call *call, int status, const char *type, struct slice body)
{
    if (call->rpc_id.len > 0) {
        rpc_answer(call, 200, 0, slice_str(NULL), body);
    } else {
        call_end(call, status, type, body);
    }
}

void api_reply_body(struct api_call *call, const char *content_type, struct slice body)
{
    call_answer(call, 200, content_type, body);
}

void api_reply_json(struct api_call *call, struct slice json)
{
    call_answer(call, 200, json_type, json);
}

/* `result` and `message` may be NULL: then the field is left out. */
static void call_answer_envelope(struct api_call *call, int status, const char *result,
                                 struct slice message, const char *txn_status)
{
    struct buf body = {0};
    struct json_writer w;
    if (call->rpc_id.len > 0 && status != 200) {
        rpc_answer(call, 200, rpc_code(status), message, slice_str(NULL));
        return;
    }
    json_writer_init(&w, &body);
    json_open_object(&w, NULL);
    if (result) {
        json_put_text(&w, "dtm_result", result);
    }
    if (message.len > 0) {
        json_put_string(&w, "message", message);
    }
    if (txn_status) {
        json_put_text(&w, "status", txn_status);
    }
    json_close_object(&w);
    call_answer(call, status, json_type, buf_slice(&body));
    buf_fini(&body);
}

void api_reply_success(struct api_call *call, const char *status)
{
    call_answer_envelope(call, 200, "SUCCESS", slice_make(NULL, 0), status);
}

/* The text, ending in the word that SDKs look for. */
static void text_format(char *out, size_t size, const char *word, const char *fmt, va_list args)
    __attribute__((format(printf, 4, 0)));
static void text_format(char *out, size_t size, const char *word, const char *fmt, va_list args)
{
    size_t room = size - strlen(word) - 2;
    int written = vsnprintf(out, room, fmt, args);
    size_t len = written < 0 ? 0 : (size_t)written < room ? (size_t)written : room - 1;
    bool has_word = len >= strlen(word) && strcmp(out + len - strlen(word), word) == 0;
    if (!has_word) {
        snprintf(out + len, size - len, "%s%s", len > 0 ? " " : "", word);
    }
}

void api_reply_failure(struct api_call *call, const char *fmt, ...)
{
    char text[TXN_REASON_MAX + 128];
    va_list args;
    va_start(args, fmt);
    text_format(text, sizeof(text), "FAILURE", fmt, args);
    va_end(args);
    call_answer_envelope(call, 409, "FAILURE", slice_str(text), NULL);
}

void api_reply_ongoing(struct api_call *call, const char *fmt, ...)
{
    char text[TXN_REASON_MAX + 128];
    va_list args;
    va_start(args, fmt);
    text_format(text, sizeof(text), "ONGOING", fmt, args);
    va_end(args);
    call_answer_envelope(call, 425, "ONGOING", slice_str(text), NULL);
}

void api_reply_error(struct api_call *call, int status, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (status == 429 || status == 503) {
        http_reply_header(call->request, "Retry-After", retry_after_s);
    }
    call_answer_envelope(call, status, NULL, slice_str(text), NULL);
}

static const char *message_or(const char *message, const char *otherwise)
{
    return message && message[0] ? message : otherwise;
}

void api_reply_engine_error(struct api_call *call, const struct engine_answer *answer)
{
    const char *message = answer->message;
    switch (answer->err) {
    case ERR_BUSY:
        api_reply_error(call, call->api->draining ? 503 : 429, "%s",
                        message_or(message, "too many transactions in work; try again"));
        return;
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_CONNECT:
    case ERR_CLOSED:
    case ERR_CANCELLED:
        api_reply_error(call, 503,
                        "%s; whether it was done is unknown, ask again with the same gid",
                        message_or(message, "the store does not answer"));
        return;
    case ERR_NOT_FOUND:
        api_reply_error(call, 404, "no transaction with gid: %.*s", SLICE_ARG(call->gid));
        return;
    case ERR_INVALID:
    case ERR_LIMIT:
        api_reply_error(call, 400, "%s", message_or(message, err_text(answer->err)));
        return;
    case ERR_CONFLICT:
        api_reply_failure(call, "%s", message_or(message, err_text(answer->err)));
        return;
    case ERR_OK:
    case ERR_PROTOCOL:
    case ERR_DENIED:
    case ERR_SCRIPT:
    case ERR_SYSTEM:
        api_reply_error(call, 500, "%s", message_or(message, err_text(answer->err)));
        return;
    }
}

void api_reply_store_error(struct api_call *call, enum store_status status, const char *message)
{
    if (status == STORE_REFUSED || status == STORE_UNKNOWN) {
        api_reply_error(call, 503, "the store does not answer: %s", message_or(message, "?"));
    } else {
        api_reply_error(call, 500, "%s", message_or(message, "the store answered something else"));
    }
}

const char *api_error_body(int status, const char *message)
{
    static char body[256]; /* one thread; read at once */
    struct buf out = {0};
    struct json_writer w;
    (void)status;
    json_writer_init(&w, &out);
    json_open_object(&w, NULL);
    json_put_text(&w, "message", message);
    json_close_object(&w);
    snprintf(body, sizeof(body), "%s", out.data);
    buf_fini(&out);
    return body;
}

/* ---- requests ---- */

enum err api_take_body(struct api_call *call, struct json **out, struct reason *reason)
{
    *out = call->params;
    call->params = NULL;
    return call->rpc_id.len > 0 ? ERR_OK
                                : json_parse(http_request_body(call->request), out, reason);
}

bool api_read_gid_body(struct api_call *call, struct json **out)
{
    struct reason reason;
    struct slice gid = {0};
    *out = NULL;
    enum err err = api_take_body(call, out, &reason);
    if (!err && !json_is_object(*out)) {
        err = reason_set(&reason, ERR_INVALID, "the body must be a JSON object");
    }
    if (!err) {
        err = json_read_string(*out, "gid", &gid, &reason);
    }
    if (!err) {
        err = txn_gid_check(gid, &reason);
    }
    if (err) {
        json_free(*out);
        api_reply_error(call, 400, "%s", reason.text);
        return false;
    }
    api_call_keep_gid(call, gid);
    return true;
}
