/*
 * The HTTP API: DTM's paths and JSON (docs/http-api.md), on the engine and the archive. Decodes,
 * validates, asks, encodes; decides nothing about transactions.
 */
#ifndef COORDINATOR_API_HTTP_H
#define COORDINATOR_API_HTTP_H

#include "coordinator/archive.h"
#include "coordinator/caller_net.h"
#include "coordinator/engine.h"
#include "coordinator/metrics.h"
#include "coordinator/topics.h"
#include "net/loop.h"
#include "net/quota.h"

struct api_http;

struct api_http_conf {
    const char *address; /* "host:port", port 0: any free one */
    const char *token;   /* NULL or "": everybody may ask; else "Authorization: Bearer TOKEN" */
    const char *version;
    size_t body_max;
    int64_t timeout_ms; /* for a client to send its request or take the answer */
    int connections_max;
    int client_max;      /* connections from one client; 0: no such limit */
    struct quota *quota; /* of bytes of requests and answers; may be NULL */
    bool reuse_port;
};

/* What the API stands on; all of it outlives the API. */
struct api_env {
    struct loop *loop;
    struct engine *engine;
    struct archive *archive;
    struct metrics *metrics;
    struct topics *topics;      /* may be NULL: then calls that need topics are answered 503 */
    struct caller_net *caller;  /* for the overview of services; may be NULL */
    void (*refresh)(void *arg); /* brings the gauges up to date; may be NULL */
    void *refresh_arg;
};

struct api_http *api_http_open(const struct api_http_conf *conf, const struct api_env *env,
                               struct reason *reason);
int api_http_port(const struct api_http *api);
void api_http_set_token(struct api_http *api, const char *token); /* from the next request on */
/* Accepts no more connections and answers new requests with 503. */
void api_http_drain(struct api_http *api);
int api_http_in_flight(const struct api_http *api);
int api_http_connections(const struct api_http *api);
uint64_t api_http_refused(const struct api_http *api); /* connections, since the start */
/* The engine and the archive have answered all by now, or never will. */
void api_http_free(struct api_http *api);

#endif
