#include "net/http_request.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static enum http_method method_of(struct slice name)
{
    for (enum http_method m = HTTP_GET; m < HTTP_OTHER; m++) {
        if (slice_eq_str(name, http_method_text(m))) {
            return m;
        }
    }
    return HTTP_OTHER;
}

/* Takes scheme and authority off an absolute target, which servers must understand. */
static struct slice origin_form(struct slice target)
{
    if (target.len > 7 && slice_has_prefix(target, "http://")) {
        const char *slash = memchr(target.ptr + 7, '/', target.len - 7);
        return slash ? slice_make(slash, target.len - (size_t)(slash - target.ptr))
                     : slice_make(NULL, 0);
    }
    return target;
}

static bool decode_pair(char *text, size_t len, struct http_header *out)
{
    char *equals = memchr(text, '=', len);
    size_t name_len = equals ? (size_t)(equals - text) : len;
    char *value = equals ? equals + 1 : text + len;
    size_t value_len = equals ? len - name_len - 1 : 0;
    /* The value first: the NUL behind the name stands where '=' was. */
    return http_percent_decode(value, value_len, true, &out->value) &&
           http_percent_decode(text, name_len, true, &out->name);
}

static bool parse_query(struct http_request *request, char *text, size_t len)
{
    size_t parts = 1;
    for (size_t i = 0; i < len; i++) {
        parts += text[i] == '&';
    }
    request->query = mem_alloc(parts * sizeof(struct http_header));
    for (char *end = text + len; text < end;) {
        char *amp = memchr(text, '&', (size_t)(end - text));
        size_t n = amp ? (size_t)(amp - text) : (size_t)(end - text);
        if (n > 0 && !decode_pair(text, n, &request->query[request->query_count++])) {
            return false;
        }
        text += n + 1;
    }
    return true;
}

static bool parse_target(struct http_request *request)
{
    struct slice target = origin_form(request->head.target);
    if (target.len == 1 && target.ptr[0] == '*') {
        request->path = target;
        return true;
    }
    if (target.len == 0 || target.ptr[0] != '/') {
        return false;
    }
    char *text = request->bytes + (target.ptr - request->bytes);
    char *mark = memchr(text, '?', target.len);
    size_t path_len = mark ? (size_t)(mark - text) : target.len;
    return (!mark || parse_query(request, mark + 1, target.len - path_len - 1)) &&
           http_percent_decode(text, path_len, false, &request->path);
}

static bool is_id(const char *text)
{
    size_t n = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-");
    return n > 0 && n < HTTP_ID_SIZE && text[n] == '\0';
}

static void set_id(struct http_request *request, const char *fallback)
{
    const char *given = http_head_get(&request->head, "X-Request-Id");
    const char *id = given && is_id(given) ? given : fallback;
    memcpy(request->id, id, strlen(id) + 1);
}

static int parse(struct http_request *request, size_t len, size_t body_max, const char **why)
{
    int status = http_request_parse(request->bytes, len, &request->head, why);
    if (status) {
        return status;
    }
    request->method = method_of(request->head.method);
    if (!parse_target(request)) {
        *why = "the request target is malformed";
        return 400;
    }
    if (http_body_init(&request->body, &request->head, body_max) != ERR_OK) {
        *why = "the body is too large";
        return 413;
    }
    return 0;
}

int http_request_new(struct slice head, size_t body_max, const char *fallback_id,
                     struct http_request **out, const char **why)
{
    struct http_request *request = mem_new(struct http_request);
    request->bytes = slice_dup(head);
    int status = parse(request, head.len, body_max, why);
    if (status) {
        http_request_free(request);
        request = NULL;
    } else {
        set_id(request, fallback_id);
    }
    *out = request;
    return status;
}

void http_request_free(struct http_request *request)
{
    http_head_fini(&request->head);
    quota_set(&request->share, 0);
    http_body_fini(&request->body);
    buf_fini(&request->extra);
    free(request->bytes);
    free(request->query);
    free(request);
}

enum http_method http_request_method(const struct http_request *request)
{
    return request->method;
}

const char *http_request_path(const struct http_request *request)
{
    return request->path.ptr;
}

struct slice http_request_body(const struct http_request *request)
{
    return buf_slice(&request->body.bytes);
}

const char *http_request_header(const struct http_request *request, const char *name)
{
    return http_head_get(&request->head, name);
}

const char *http_request_query(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->query_count; i++) {
        if (slice_eq_str(request->query[i].name, name)) {
            return request->query[i].value.ptr;
        }
    }
    return NULL;
}

const char *http_request_peer(const struct http_request *request)
{
    return request->peer;
}

const char *http_request_id(const struct http_request *request)
{
    return request->id;
}

/* Those that http_reply gives; twice they would contradict each other. */
static bool is_own_header(const char *name)
{
    static const char *const own[] = {"Content-Length", "Content-Type", "Connection",
                                      "Date",           "X-Request-Id", "Transfer-Encoding"};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strcasecmp(name, own[i]) == 0) {
            return true;
        }
    }
    return false;
}

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
    if (!http_is_token(slice_str(name)) || !http_is_header_value(slice_str(value)) ||
        is_own_header(name)) {
        log_warn("http", "msg=\"header left out of an answer\" request=%s", request->id);
        return;
    }
    buf_printf(&request->extra, "%s: %s\r\n", name, value);
}
