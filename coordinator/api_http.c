#include "coordinator/api_http.h"

#include "base/check.h"
#include "base/mem.h"
#include "coordinator/api_http_call.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    ALLOW_GET = 1,
    ALLOW_POST = 2,
    ALLOW_ANY = 4,
    ALLOW_DELETE = 8,
    ALLOW_CHANGE = 16, /* with GET: it changes something, so there is no HEAD */
    HEADERS_MAX = 64 * 1024,
};

struct api_route {
    const char *path; /* ending in '/': and one word behind it */
    int allow;
    bool open; /* needs no token */
    void (*handle)(struct api_call *call);
};

static const struct api_route routes[] = {
    {"/api/dtmsvr/version", ALLOW_GET, false, api_handle_version},
    {"/api/dtmsvr/newGid", ALLOW_GET | ALLOW_POST, false, api_handle_new_gid},
    {"/api/dtmsvr/prepare", ALLOW_POST, false, api_handle_prepare},
    {"/api/dtmsvr/prepareWorkflow", ALLOW_POST, false, api_handle_prepare_workflow},
    {"/api/dtmsvr/registerBranch", ALLOW_POST, false, api_handle_register},
    {"/api/dtmsvr/registerTccBranch", ALLOW_POST, false, api_handle_register},
    {"/api/dtmsvr/registerXaBranch", ALLOW_POST, false, api_handle_register},
    {"/api/dtmsvr/submit", ALLOW_POST, false, api_handle_submit},
    {"/api/dtmsvr/abort", ALLOW_POST, false, api_handle_abort},
    {"/api/dtmsvr/query", ALLOW_GET, false, api_handle_query},
    {"/api/dtmsvr/all", ALLOW_GET, false, api_handle_all},
    {"/api/dtmsvr/forceStop", ALLOW_POST, false, api_handle_force_stop},
    {"/api/dtmsvr/resetNextCronTime", ALLOW_POST, false, api_handle_retry_now},
    {"/api/dtmsvr/retryParked", ALLOW_POST, false, api_handle_retry_parked},
    {"/api/dtmsvr/resolve", ALLOW_POST, false, api_handle_resolve},
    {"/api/dtmsvr/resetCronTime", ALLOW_GET | ALLOW_POST | ALLOW_CHANGE, false, api_handle_reset},
    {"/api/dtmsvr/subscribe", ALLOW_GET | ALLOW_POST | ALLOW_CHANGE, false, api_handle_subscribe},
    {"/api/dtmsvr/unsubscribe", ALLOW_GET | ALLOW_POST | ALLOW_CHANGE, false,
     api_handle_unsubscribe},
    {API_TOPIC_PATH, ALLOW_DELETE, false, api_handle_delete_topic},
    {"/api/dtmsvr/scanKV", ALLOW_GET, false, api_handle_scan_kv},
    {"/api/dtmsvr/queryKV", ALLOW_GET, false, api_handle_query_kv},
    {"/api/json-rpc", ALLOW_POST, false, api_handle_json_rpc},
    {"/api/services", ALLOW_GET, false, api_handle_services},
    {"/api/ping", ALLOW_ANY, true, api_handle_ping},
    {"/api/metrics", ALLOW_GET, false, api_handle_metrics},
};
enum { ROUTES = sizeof(routes) / sizeof(routes[0]) };
_Static_assert((int)ROUTES <= (int)METRICS_ROUTES_MAX, "every route is counted");

static bool route_matches(const char *route, const char *path)
{
    size_t len = strlen(route);
    return route[len - 1] == '/' ? strncmp(route, path, len) == 0 && !strchr(path + len, '/')
                                 : strcmp(route, path) == 0;
}

static int route_find(const char *path)
{
    for (int i = 0; i < ROUTES; i++) {
        if (route_matches(routes[i].path, path)) {
            return i;
        }
    }
    return -1;
}

static bool method_is_allowed(const struct api_route *route, enum http_method method)
{
    switch (method) {
    case HTTP_GET: return route->allow & (ALLOW_GET | ALLOW_ANY);
    case HTTP_HEAD:
        return (route->allow & (ALLOW_GET | ALLOW_ANY)) && !(route->allow & ALLOW_CHANGE);
    case HTTP_POST: return route->allow & (ALLOW_POST | ALLOW_ANY);
    case HTTP_DELETE: return route->allow & (ALLOW_DELETE | ALLOW_ANY);
    case HTTP_PUT:
    case HTTP_OTHER: return route->allow & ALLOW_ANY;
    }
    return false;
}

static bool token_is_right(const struct api_call *call)
{
    struct slice want = slice_str(call->api->token);
    struct slice got = slice_str(http_request_header(call->request, "Authorization"));
    if (want.len == 0) {
        return true;
    }
    size_t scheme = strlen("Bearer ");
    /* RFC 9110 section 11.1: the scheme in any case */
    return got.len >= scheme && strncasecmp(got.ptr, "Bearer ", scheme) == 0 &&
           slice_eq_secret(slice_make(got.ptr + scheme, got.len - scheme), want);
}

static void reply_wrong_method(struct api_call *call, const struct api_route *route)
{
    const char *allow = route->allow == ALLOW_GET      ? "GET, HEAD"
                        : route->allow == ALLOW_POST   ? "POST"
                        : route->allow == ALLOW_DELETE ? "DELETE"
                        : route->allow & ALLOW_CHANGE  ? "GET, POST"
                                                       : "GET, HEAD, POST";
    http_reply_header(call->request, "Allow", allow);
    api_reply_error(call, 405, "%s: allowed methods: %s", route->path, allow);
}

static void on_request(void *arg, struct http_request *request)
{
    struct api_http *api = arg;
    const char *path = http_request_path(request);
    int index = route_find(path);
    struct api_call *call = api_call_new(api, request, index);
    if (index < 0) {
        api_reply_error(call, 404, "no such path: %.200s", path);
        return;
    }
    const struct api_route *route = &routes[index];
    if (!method_is_allowed(route, http_request_method(request))) {
        reply_wrong_method(call, route);
    } else if (!route->open && !token_is_right(call)) {
        http_reply_header(request, "WWW-Authenticate", "Bearer");
        api_reply_error(call, 401, "the header Authorization must be: Bearer TOKEN");
    } else {
        route->handle(call);
    }
}

/* By the server itself: it has no path yet, or none that counts. */
static void on_refused(void *arg, int status)
{
    struct api_http *api = arg;
    metrics_http(api->env.metrics, -1, status, 0);
}

struct api_http *api_http_open(const struct api_http_conf *conf, const struct api_env *env,
                               struct reason *reason)
{
    struct api_http *api = mem_new(struct api_http);
    struct http_server_conf server = {
        .address = conf->address,
        .body_max = conf->body_max,
        .header_max = HEADERS_MAX,
        .timeout_ms = conf->timeout_ms,
        .connections_max = conf->connections_max,
        .client_max = conf->client_max,
        .quota = conf->quota,
        .reuse_port = conf->reuse_port,
        .error_body = api_error_body,
        .refused = on_refused,
    };
    api->env = *env;
    api->token = mem_strdup(conf->token);
    api->version = mem_strdup(conf->version);
    for (int i = 0; i < ROUTES; i++) {
        api->route_names[i] = routes[i].path;
    }
    metrics_set_routes(env->metrics, api->route_names, ROUTES);
    api->server = http_server_open(env->loop, &server, on_request, api, reason);
    if (!api->server) {
        api_http_free(api);
        return NULL;
    }
    return api;
}

void api_http_set_token(struct api_http *api, const char *token)
{
    free(api->token);
    api->token = mem_strdup(token);
}

int api_http_port(const struct api_http *api)
{
    return http_server_port(api->server);
}

void api_http_drain(struct api_http *api)
{
    api->draining = true;
    http_server_drain(api->server);
}

int api_http_in_flight(const struct api_http *api)
{
    return http_server_in_flight(api->server);
}

int api_http_connections(const struct api_http *api)
{
    return http_server_connections(api->server);
}

uint64_t api_http_refused(const struct api_http *api)
{
    return http_server_refused(api->server);
}

void api_http_free(struct api_http *api)
{
    while (api->calls) {
        api_call_free(api->calls);
    }
    if (api->server) {
        http_server_free(api->server);
    }
    free(api->token);
    free(api->version);
    free(api);
}
