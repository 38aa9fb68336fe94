/*
 * The HTTP side of a service: routes, users' tokens, JSON bodies, one error shape.
 *
 * Every error is `{"code":"word","message":"for a person"}` with the fitting HTTP status. A request
 * lives until it is answered by web_reply or web_fail, once; handlers may answer later.
 */
#ifndef SERVICES_COMMON_WEB_H
#define SERVICES_COMMON_WEB_H

#include "net/http.h"
#include "services/common/counters.h"
#include "wire/json.h"

struct web;

/* Ids that a body may name: what JSON readers that hold numbers as doubles agree on. */
#define WEB_ID_MAX 9007199254740991LL

struct web_route;

struct web_request {
    struct http_request *http;
    const struct web_route *route;
    struct web *web;
    const struct json *body; /* an object; empty when the request had no body */
    int64_t uid;             /* of the token; 0 on open routes */
    struct json *document;   /* owns body */
};

struct web_route {
    const char *path;
    bool open; /* no token asked for */
    void (*handle)(void *arg, struct web_request *request);
};

struct web_conf {
    const char *listen;
    size_t body_max;
    const char *jwt_secret;
    const struct web_route *routes; /* POST each; ends with path NULL */
    struct counters *counters;
    void *arg; /* of the handlers */
};

/* GET /api/ping and GET /api/metrics are served too. */
struct web *web_open(struct loop *loop, const struct web_conf *conf, struct reason *reason);
int web_port(const struct web *web);
/* Every request, ping and metrics too, is answered 503 with this text, until NULL. */
void web_hold(struct web *web, const char *why);
void web_drain(struct web *web);
int web_in_flight(const struct web *web);
void web_close(struct web *web);

void web_reply(struct web_request *request, int status, const struct buf *json);

/* An answer in the making: write the JSON value to the writer, then send. */
struct web_answer {
    struct buf body;
    struct json_writer writer;
};
struct json_writer *web_answer_begin(struct web_answer *answer);
void web_answer_send(struct web_answer *answer, struct web_request *request, int status);

void web_fail(struct web_request *request, int status, const char *code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* As web_fail with 400 "invalid" and the reason's text. */
void web_refuse(struct web_request *request, const struct reason *reason);
const char *web_header(const struct web_request *request, const char *name); /* or NULL */

/* A required member of the body; the reason says which one is missing. */
enum err web_need_int(const struct web_request *request, const char *name, int64_t min, int64_t max,
                      int64_t *out, struct reason *reason) MUST_CHECK;
/* The same for `id`, 1 to WEB_ID_MAX. */
enum err web_need_id(const struct web_request *request, const char *name, int64_t *out,
                     struct reason *reason) MUST_CHECK;
/* Text of `min_chars` to `max_chars` characters, no control characters. */
enum err web_need_text(const struct web_request *request, const char *name, size_t min_chars,
                       size_t max_chars, struct slice *out, struct reason *reason) MUST_CHECK;

/* The same, copied into a field of `size` bytes; a text that does not fit is refused. */
enum err web_need_copy(const struct web_request *request, const char *name, size_t min_chars,
                       size_t max_chars, char *out, size_t size, struct reason *reason) MUST_CHECK;

/* The header Idempotency-Key, when there is one: 1 to 64 characters of UTF-8. */
enum err web_check_key(const struct web_request *request, struct reason *reason) MUST_CHECK;

/* A reason of the form "code: text" (as the Lua scripts give) is split; `code` gets the word, or
 * `fallback` when there is none. Returns the text. */
enum { WEB_CODE_SIZE = 32 };
struct slice web_split_reason(struct slice reason, const char *fallback, char code[WEB_CODE_SIZE]);

#endif
