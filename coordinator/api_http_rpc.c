/* JSON-RPC 2.0: the calls of clients once more, with the body in `params`. */
#include "coordinator/api_http_call.h"

#include <stdio.h>
#include <string.h>

enum { RPC_PARSE = -32700, RPC_REQUEST = -32600, RPC_METHOD = -32601 };

static const struct rpc_method {
    const char *name;
    void (*handle)(struct api_call *call);
} methods[] = {
    {"newGid", api_handle_new_gid},          {"prepare", api_handle_prepare},
    {"submit", api_handle_submit},           {"abort", api_handle_abort},
    {"registerBranch", api_handle_register},
};

static const struct rpc_method *method_find(struct slice name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (slice_eq_str(name, methods[i].name)) {
            return &methods[i];
        }
    }
    return NULL;
}

/* What is wrong with the frame of the request; NULL: nothing. */
static const char *frame_fault(const struct json *request)
{
    if (json_is_array(request)) {
        return "batch requests are not supported; send one request object at a time";
    }
    if (!json_is_object(request)) {
        return "a request must be an object";
    }
    if (!slice_eq_str(json_string(json_get(request, "jsonrpc")), "2.0")) {
        return "field 'jsonrpc': must be \"2.0\"";
    }
    if (json_string(json_get(request, "id")).len == 0) {
        return "field 'id': must be a string, not empty; notifications are not supported";
    }
    if (!json_is_string(json_get(request, "method"))) {
        return "field 'method': must be a string";
    }
    return json_get(request, "params") && !json_is_object(json_get(request, "params"))
               ? "field 'params': must be an object, as the body of the same call over HTTP"
               : NULL;
}

static void request_handle(struct api_call *call, struct json *request)
{
    const struct rpc_method *method = method_find(json_string(json_get(request, "method")));
    struct slice id = json_string(json_get(request, "id"));
    const char *fault = frame_fault(request);
    if (id.len > 0) {
        call->rpc_id = slice_make(slice_dup(id), id.len);
    }
    if (fault) {
        api_reply_rpc_error(call, 200, RPC_REQUEST, fault);
    } else if (!method) {
        api_reply_rpc_error(call, 200, RPC_METHOD,
                            "field 'method': must be newGid, prepare, submit, abort or "
                            "registerBranch");
    } else {
        call->params = json_take(request, "params");
        method->handle(call);
    }
}

void api_handle_json_rpc(struct api_call *call)
{
    struct json *request;
    struct reason reason;
    if (json_parse(http_request_body(call->request), &request, &reason)) {
        api_reply_rpc_error(call, 400, RPC_PARSE, reason.text);
        return;
    }
    request_handle(call, request);
    json_free(request);
}
