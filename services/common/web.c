#include "services/common/web.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "services/common/token.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct web {
    struct web_conf conf;
    struct http_server *server;
    bool draining;
    const char *held; /* why every request is refused for now, or NULL */
};

enum { KEY_CHARS_MAX = 64 };

static const char *const stopping = "the service is stopping";
static const char *const content_type = "application/json; charset=utf-8";

static const char *error_code(int status)
{
    switch (status) {
    case 404: return "not_found";
    case 405: return "method_not_allowed";
    case 413: return "too_large";
    case 503: return "unavailable";
    default: return "invalid";
    }
}

static void write_error(struct buf *out, const char *code, const char *message)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_open_object(&w, NULL);
    json_put_text(&w, "code", code);
    json_put_text(&w, "message", message);
    json_close_object(&w);
}

/* The answers that the HTTP layer gives itself. The text is used before the next call. */
static const char *error_body(int status, const char *message)
{
    static struct buf body;
    buf_clear(&body);
    write_error(&body, error_code(status), message);
    return body.data;
}

/* Every answer of a service passes here. `path` is the route's, NULL: no such path. */
static void send(const struct web *web, struct http_request *http, const char *path, int status,
                 struct slice json)
{
    counters_request(web->conf.counters, path, status);
    http_reply(http, status, content_type, json);
}

static void send_error(const struct web *web, struct http_request *http, const char *path,
                       int status, const char *code, const char *message)
{
    struct buf body = {0};
    write_error(&body, code, message);
    send(web, http, path, status, buf_slice(&body));
    buf_fini(&body);
}

static void request_free(struct web_request *request)
{
    json_free(request->document);
    free(request);
}

void web_reply(struct web_request *request, int status, const struct buf *json)
{
    send(request->web, request->http, request->route->path, status, buf_slice(json));
    request_free(request);
}

struct json_writer *web_answer_begin(struct web_answer *answer)
{
    *answer = (struct web_answer){.body = {0}};
    json_writer_init(&answer->writer, &answer->body);
    return &answer->writer;
}

void web_answer_send(struct web_answer *answer, struct web_request *request, int status)
{
    web_reply(request, status, &answer->body);
    buf_fini(&answer->body);
}

void web_fail(struct web_request *request, int status, const char *code, const char *fmt, ...)
{
    char message[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    if (status == 500 && request->web->draining) { /* cut off, no fault */
        status = 503;
        code = "unavailable";
        snprintf(message, sizeof(message), "%s", stopping);
    }
    if (status == 503) {
        http_reply_header(request->http, "Retry-After", "1");
    }
    send_error(request->web, request->http, request->route->path, status, code, message);
    request_free(request);
}

void web_refuse(struct web_request *request, const struct reason *reason)
{
    web_fail(request, 400, "invalid", "%s", reason->text);
}

const char *web_header(const struct web_request *request, const char *name)
{
    return http_request_header(request->http, name);
}

enum err web_need_int(const struct web_request *request, const char *name, int64_t min, int64_t max,
                      int64_t *out, struct reason *reason)
{
    if (!json_get(request->body, name)) {
        return reason_set(reason, ERR_INVALID, "field '%s' is missing", name);
    }
    return json_read_int(request->body, name, min, max, out, reason);
}

enum err web_need_id(const struct web_request *request, const char *name, int64_t *out,
                     struct reason *reason)
{
    return web_need_int(request, name, 1, WEB_ID_MAX, out, reason);
}

enum err web_need_text(const struct web_request *request, const char *name, size_t min_chars,
                       size_t max_chars, struct slice *out, struct reason *reason)
{
    if (!json_get(request->body, name)) {
        return reason_set(reason, ERR_INVALID, "field '%s' is missing", name);
    }
    enum err err = json_read_string(request->body, name, out, reason);
    if (err != ERR_OK) {
        return err;
    }
    size_t chars = utf8_length(*out);
    if (chars < min_chars || chars > max_chars || utf8_has_control(*out)) {
        return reason_set(reason, ERR_INVALID,
                          "field '%s': allowed are %zu to %zu characters, no control characters",
                          name, min_chars, max_chars);
    }
    return ERR_OK;
}

enum err web_need_copy(const struct web_request *request, const char *name, size_t min_chars,
                       size_t max_chars, char *out, size_t size, struct reason *reason)
{
    struct slice text = slice_str("");
    enum err err = web_need_text(request, name, min_chars, max_chars, &text, reason);
    if (err == ERR_OK && text.len >= size) {
        err = reason_set(reason, ERR_INVALID, "field '%s': more than %zu bytes", name, size - 1);
    }
    if (err == ERR_OK) {
        snprintf(out, size, "%.*s", SLICE_ARG(text));
    }
    return err;
}

enum err web_check_key(const struct web_request *request, struct reason *reason)
{
    const char *key = web_header(request, "Idempotency-Key");
    struct slice text = slice_str(key);
    if (key && (text.len == 0 || !utf8_is_valid(text) || utf8_has_control(text) ||
                utf8_length(text) > KEY_CHARS_MAX)) {
        return reason_set(reason, ERR_INVALID,
                          "header Idempotency-Key: allowed are 1 to %d characters of UTF-8",
                          KEY_CHARS_MAX);
    }
    return ERR_OK;
}

struct slice web_split_reason(struct slice reason, const char *fallback, char code[WEB_CODE_SIZE])
{
    size_t n = 0;
    while (n < reason.len && n < WEB_CODE_SIZE - 1 &&
           ((reason.ptr[n] >= 'a' && reason.ptr[n] <= 'z') || reason.ptr[n] == '_')) {
        n++;
    }
    if (n == 0 || n + 2 > reason.len || memcmp(reason.ptr + n, ": ", 2) != 0) {
        snprintf(code, WEB_CODE_SIZE, "%s", fallback);
        return reason;
    }
    snprintf(code, WEB_CODE_SIZE, "%.*s", (int)n, reason.ptr);
    return slice_make(reason.ptr + n + 2, reason.len - n - 2);
}

/* The user of the Authorization header. */
static enum err authorize(const struct web *web, const struct http_request *http, int64_t *uid,
                          struct reason *reason)
{
    const char *header = http_request_header(http, "Authorization");
    if (!header || strncasecmp(header, "bearer ", 7) != 0) {
        return reason_set(
            reason, ERR_DENIED,
            "send the header 'Authorization: Bearer TOKEN'; /api/user/login gives one");
    }
    return token_verify(web->conf.jwt_secret, header + 7, clock_wall_ms() / 1000, uid, reason);
}

static enum err read_body(struct web_request *request, struct reason *reason)
{
    struct slice text = http_request_body(request->http);
    if (text.len == 0) {
        text = slice_str("{}");
    }
    enum err err = json_parse(text, &request->document, reason);
    if (err == ERR_OK && !json_is_object(request->document)) {
        err = reason_set(reason, ERR_INVALID, "the body must be a JSON object");
    }
    request->body = request->document;
    return err;
}

static const struct web_route *find_route(const struct web *web, const char *path)
{
    for (const struct web_route *route = web->conf.routes; route->path; route++) {
        if (strcmp(route->path, path) == 0) {
            return route;
        }
    }
    return NULL;
}

static void dispatch(struct web *web, const struct web_route *route, struct http_request *http)
{
    struct web_request *request = mem_new(struct web_request);
    struct reason reason;
    request->http = http;
    request->web = web;
    request->route = route;
    if (!route->open && authorize(web, http, &request->uid, &reason) != ERR_OK) {
        web_fail(request, 401, "unauthorized", "%s", reason.text);
        return;
    }
    if (read_body(request, &reason) != ERR_OK) {
        web_refuse(request, &reason);
        return;
    }
    route->handle(web->conf.arg, request);
}

static void serve_ping(const struct web *web, struct http_request *http, const char *path)
{
    send(web, http, path, 200, slice_str("{\"msg\":\"pong\"}"));
}

static void serve_metrics(const struct web *web, struct http_request *http, const char *path)
{
    struct buf text = {0};
    counters_request(web->conf.counters, path, 200);
    counters_render(web->conf.counters, &text);
    http_reply(http, 200, "text/plain; version=0.0.4; charset=utf-8", buf_slice(&text));
    buf_fini(&text);
}

/* What every service answers to GET, without a token. */
static const struct {
    const char *path;
    void (*serve)(const struct web *web, struct http_request *http, const char *path);
} builtin[] = {{"/api/ping", serve_ping}, {"/api/metrics", serve_metrics}};

static void refuse_method(const struct web *web, struct http_request *http, const char *path,
                          const char *allowed)
{
    char message[64];
    snprintf(message, sizeof(message), "this path takes %s", allowed);
    http_reply_header(http, "Allow", allowed);
    send_error(web, http, path, 405, "method_not_allowed", message);
}

/* False when the path is none of the built-in ones. */
static bool serve_builtin(const struct web *web, struct http_request *http, const char *path)
{
    enum http_method method = http_request_method(http);
    for (size_t i = 0; i < sizeof(builtin) / sizeof(builtin[0]); i++) {
        if (strcmp(builtin[i].path, path) != 0) {
            continue;
        }
        if (method == HTTP_GET || method == HTTP_HEAD) {
            builtin[i].serve(web, http, builtin[i].path);
        } else {
            refuse_method(web, http, builtin[i].path, "GET");
        }
        return true;
    }
    return false;
}

static void on_request(void *arg, struct http_request *http)
{
    struct web *web = arg;
    const char *path = http_request_path(http);
    /* What arrives while it stops would find the service half closed. */
    const char *held = web->draining ? stopping : web->held;
    if (held) {
        http_reply_header(http, "Retry-After", "1");
        send_error(web, http, NULL, 503, "unavailable", held);
        return;
    }
    if (serve_builtin(web, http, path)) {
        return;
    }
    const struct web_route *route = find_route(web, path);
    if (!route) {
        send_error(web, http, NULL, 404, "not_found", "there is no such path");
    } else if (http_request_method(http) != HTTP_POST) {
        refuse_method(web, http, route->path, "POST");
    } else {
        dispatch(web, route, http);
    }
}

struct web *web_open(struct loop *loop, const struct web_conf *conf, struct reason *reason)
{
    struct web *web = mem_new(struct web);
    web->conf = *conf;
    struct http_server_conf server = {
        .address = conf->listen,
        .body_max = conf->body_max,
        .header_max = 16 * 1024,
        .timeout_ms = 10000,
        .error_body = error_body,
    };
    web->server = http_server_open(loop, &server, on_request, web, reason);
    if (!web->server) {
        free(web);
        return NULL;
    }
    return web;
}

int web_port(const struct web *web)
{
    return http_server_port(web->server);
}

void web_hold(struct web *web, const char *why)
{
    web->held = why;
}

void web_drain(struct web *web)
{
    web->draining = true;
    http_server_drain(web->server);
}

int web_in_flight(const struct web *web)
{
    return http_server_in_flight(web->server);
}

void web_close(struct web *web)
{
    http_server_free(web->server);
    free(web);
}
