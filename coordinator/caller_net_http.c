#include "coordinator/caller_net_link.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { OWN_HEADERS = 3 };

struct http_call_state {
    link_cb cb;
    void *arg;
    bool json_rpc;
    struct loop_task refused; /* the call was not started at all */
    struct reason reason;
};

enum call_verdict http_verdict(int status, struct slice body)
{
    size_t len = body.len < HTTP_BODY_MATCH_MAX ? body.len : HTTP_BODY_MATCH_MAX;
    bool ongoing = len > 0 && memmem(body.ptr, len, "ONGOING", strlen("ONGOING"));
    bool failure = len > 0 && memmem(body.ptr, len, "FAILURE", strlen("FAILURE"));
    if (status == 425 || ongoing) {
        return CALL_ONGOING;
    }
    if (status == 409 || failure) {
        return CALL_FAILURE;
    }
    return status >= 200 && status < 300 ? CALL_SUCCESS : CALL_ERROR;
}

enum link_fate link_fate_of(enum err err)
{
    switch (err) {
    case ERR_CONNECT:
    case ERR_DENIED: return LINK_UNSENT;
    case ERR_CLOSED:
    case ERR_PROTOCOL: return LINK_BROKEN;
    case ERR_TIMEOUT: return LINK_SILENT;
    case ERR_OK: return LINK_ANSWERED;
    case ERR_INVALID:
    case ERR_LIMIT:
    case ERR_BUSY:
    case ERR_UNAVAILABLE:
    case ERR_NOT_FOUND:
    case ERR_CONFLICT:
    case ERR_SCRIPT:
    case ERR_SYSTEM:
    case ERR_CANCELLED: return LINK_REFUSED;
    }
    return LINK_REFUSED;
}

static void call_end(struct http_call_state *call, enum link_fate fate, enum call_verdict verdict,
                     struct slice message)
{
    call->cb(call->arg, fate, verdict, message);
    free(call);
}

static enum call_verdict verdict_of(const struct http_call_state *call,
                                    const struct http_answer *answer)
{
    const char *told = answer->header(answer, "Saga-Result");
    if (told && strcmp(told, "CONFLICT") == 0) {
        return CALL_CONFLICT;
    }
    return call->json_rpc ? json_rpc_verdict(answer->status, answer->body)
                          : http_verdict(answer->status, answer->body);
}

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct http_call_state *call = arg;
    char text[320];
    if (answer->err) {
        bool has_why = answer->why && answer->why[0];
        snprintf(text, sizeof(text), "%s%s%s", err_text(answer->err), has_why ? ": " : "",
                 has_why ? answer->why : "");
        call_end(call, link_fate_of(answer->err), CALL_ERROR, slice_str(text));
        return;
    }
    enum call_verdict verdict = verdict_of(call, answer);
    if (verdict == CALL_ERROR || verdict == CALL_CONFLICT) {
        char body[200];
        snprintf(text, sizeof(text), "status %d: %s", answer->status,
                 slice_printable(answer->body, body, sizeof(body)));
        call_end(call, LINK_ANSWERED, verdict, slice_str(text));
        return;
    }
    call_end(call, LINK_ANSWERED, verdict, answer->body);
}

static void on_refused(void *arg)
{
    struct http_call_state *call = arg;
    call_end(call, LINK_REFUSED, CALL_ERROR, slice_str(call->reason.text));
}

static void url_build(struct buf *url, const char *address, const struct link_call *call,
                      bool json_rpc)
{
    buf_printf(url, "http://%s%s", address,
               call->rest.len == 0 || call->rest.ptr[0] != '/' ? "/" : "");
    buf_add_slice(url, call->rest);
    if (json_rpc) {
        return; /* all of it is in the body */
    }
    http_url_add_query(url, "branch_id", call->branch_id);
    http_url_add_query(url, "gid", call->gid);
    http_url_add_query(url, "op", call->op);
    http_url_add_query(url, "trans_type", call->trans_type);
}

static bool name_is(const struct txn_header *header, const char *name)
{
    return header->name.len == strlen(name) &&
           strncasecmp(header->name.ptr, name, header->name.len) == 0;
}

/* The default port is left out. */
static struct slice host_header(struct slice host)
{
    bool is_default = host.len > 3 && memcmp(host.ptr + host.len - 3, ":80", 3) == 0;
    return slice_make(host.ptr, is_default ? host.len - 3 : host.len);
}

static size_t headers_build(const struct link_call *call,
                            struct http_header out[TXN_HEADERS_MAX + OWN_HEADERS])
{
    bool has_type = false;
    bool has_trace = false;
    bool has_host = call->host.len == 0;
    size_t count = 0;
    for (size_t i = 0; i < call->header_count && i < TXN_HEADERS_MAX; i++) {
        const struct txn_header *header = &call->headers[i];
        has_type = has_type || name_is(header, "content-type");
        has_trace = has_trace || name_is(header, "traceparent");
        has_host = has_host || name_is(header, "host");
        out[count++] = (struct http_header){header->name, header->value};
    }
    if (!has_type) {
        out[count++] =
            (struct http_header){slice_str("Content-Type"), slice_str("application/json")};
    }
    if (!has_trace) {
        out[count++] = (struct http_header){slice_str("traceparent"), slice_str(call->traceparent)};
    }
    if (!has_host) {
        out[count++] = (struct http_header){slice_str("Host"), host_header(call->host)};
    }
    return count;
}

void http_link_send(struct http_client *client, struct loop *loop, const char *address,
                    const struct link_call *call, link_cb cb, void *arg)
{
    struct http_header headers[TXN_HEADERS_MAX + OWN_HEADERS];
    struct buf url = {0}, body = {0};
    bool json_rpc = call->json_rpc && json_rpc_method(call->rest).len > 0;
    url_build(&url, address, call, json_rpc);
    if (json_rpc) {
        json_rpc_add_request(&body, call);
    }
    /* DTM's resource managers serve their second phase as POST, which brings no body. */
    bool posts = json_rpc || call->payload.len > 0 || slice_eq_str(call->trans_type, "xa");
    struct http_call request = {
        .method = posts ? HTTP_POST : HTTP_GET,
        .url = url.data,
        .headers = headers,
        .header_count = headers_build(call, headers),
        .body = json_rpc ? buf_slice(&body) : call->payload,
        .deadline_ms = call->deadline_ms,
    };
    struct http_call_state *pending = mem_new(struct http_call_state);
    pending->cb = cb;
    pending->arg = arg;
    pending->json_rpc = json_rpc;
    if (http_client_call(client, &request, on_answer, pending, &pending->reason)) {
        loop_defer(loop, &pending->refused, on_refused, pending);
    }
    buf_fini(&url);
    buf_fini(&body);
}
