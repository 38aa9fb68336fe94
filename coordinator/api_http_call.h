/*
 * Inside of the HTTP API: one request on its way to an answer, and DTM's envelope. Whatever answers
 * a call also ends it.
 */
#ifndef COORDINATOR_API_HTTP_CALL_H
#define COORDINATOR_API_HTTP_CALL_H

#include "coordinator/api_http.h"
#include "coordinator/topic_lookup.h"
#include "net/http.h"
#include "wire/json.h"

struct api_http {
    struct api_env env;
    struct http_server *server;
    char *token;
    char *version;
    const char *route_names[METRICS_ROUTES_MAX];
    struct api_call *calls; /* not answered yet */
    bool draining;
};

struct submit_request; /* api_http_submit.h */

struct api_call {
    struct api_http *api;
    struct http_request *request;
    int route; /* -1: no such path */
    int64_t started_us;
    struct slice gid;              /* owned */
    bool waits;                    /* submit: for the result */
    enum txn_type type;            /* submit, abort: of the request */
    struct json *params;           /* JSON-RPC: in place of the body; owned */
    struct slice rpc_id;           /* JSON-RPC: owned; else empty */
    struct submit_request *submit; /* a msg to topics, while these are looked up; owned */
    void (*go)(struct api_call *call, const struct submit_request *request);
    struct topic_lookup lookup;
    struct api_call *prev, *next;
};

struct api_call *api_call_new(struct api_http *api, struct http_request *request, int route);
void api_call_free(struct api_call *call);
void api_call_keep_gid(struct api_call *call, struct slice gid);

/* 200 with a body of its own. */
void api_reply_body(struct api_call *call, const char *content_type, struct slice body);
void api_reply_json(struct api_call *call, struct slice json);
/* {"dtm_result":"SUCCESS"}, with "status" when it is not NULL. */
void api_reply_success(struct api_call *call, const char *status);
/* 409 and 425 of the envelope; the text ends in " FAILURE" or " ONGOING", which SDKs look for. */
void api_reply_failure(struct api_call *call, const char *fmt, ...) PRINTF_LIKE(2, 3);
void api_reply_ongoing(struct api_call *call, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* {"message": …}; 429 and 503 bring Retry-After. */
void api_reply_error(struct api_call *call, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* An error of the engine that is the same for every request; CONFLICT is the caller's. */
void api_reply_engine_error(struct api_call *call, const struct engine_answer *answer);
/* Anything but OK of the store. */
void api_reply_store_error(struct api_call *call, enum store_status status, const char *message);
const char *api_error_body(int status, const char *message); /* for the net layer's own answers */

/* JSON-RPC: an error that is no answer of a handler. */
void api_reply_rpc_error(struct api_call *call, int status, int code, const char *message);

/* Its parsed body; the caller's from now on. */
enum err api_take_body(struct api_call *call, struct json **out, struct reason *reason) MUST_CHECK;
/* The body of prepare and submit: decoded, topics in place, checked, and given to `go`, now or
 * later; valid only inside of it. What is wrong is answered here. */
void api_read_submit(struct api_call *call, bool prepare,
                     void (*go)(struct api_call *call, const struct submit_request *request));
/* A whole number in the query of the url; absent or empty: *out stays. */
enum err api_query_int(const struct api_call *call, const char *name, int64_t min, int64_t max,
                       int64_t *out, struct reason *reason) MUST_CHECK;
/* The body of a call that names one transaction: parsed JSON and its valid gid. False: answered. */
bool api_read_gid_body(struct api_call *call, struct json **out);

#define API_TOPIC_PATH "/api/dtmsvr/topic/"

/* Handlers of the routes. */
void api_handle_version(struct api_call *call);
void api_handle_new_gid(struct api_call *call);
void api_handle_prepare(struct api_call *call);
void api_handle_prepare_workflow(struct api_call *call);
void api_handle_register(struct api_call *call);
void api_handle_submit(struct api_call *call);
void api_handle_abort(struct api_call *call);
void api_handle_query(struct api_call *call);
void api_handle_force_stop(struct api_call *call);
void api_handle_retry_now(struct api_call *call);
void api_handle_retry_parked(struct api_call *call);
void api_handle_resolve(struct api_call *call);
void api_handle_all(struct api_call *call);
void api_handle_reset(struct api_call *call);
void api_handle_subscribe(struct api_call *call);
void api_handle_unsubscribe(struct api_call *call);
void api_handle_delete_topic(struct api_call *call);
void api_handle_scan_kv(struct api_call *call);
void api_handle_query_kv(struct api_call *call);
void api_handle_json_rpc(struct api_call *call);
void api_handle_services(struct api_call *call);
void api_handle_ping(struct api_call *call);
void api_handle_metrics(struct api_call *call);

#endif
