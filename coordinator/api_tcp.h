/*
 * The TCP API: newGid, submit, prepare, register, abort, workflow, finish and query over the wire
 * protocol (docs/protocol.md), on the engine and the archive.
 */
#ifndef COORDINATOR_API_TCP_H
#define COORDINATOR_API_TCP_H

#include "coordinator/archive.h"
#include "coordinator/engine.h"
#include "coordinator/topics.h"
#include "net/loop.h"
#include "net/quota.h"

struct api_tcp;

/* Bytes: each answer fits into a frame of this length. With a shorter one a workflow whose steps
 * were reported could not be gone on with. */
enum { API_TCP_FRAME_LEAST = 2 * 1024 * 1024 };

struct api_tcp_conf {
    const char *address; /* "host:port", port 0: any free one; or "unix:/path" */
    const char *program; /* for the hello */
    const char *token;   /* NULL or "": none asked for */
    int connections_max;
    int client_max;      /* connections from one client; 0: no such limit */
    struct quota *quota; /* of bytes of requests and answers; may be NULL */
    int in_flight_max;   /* requests of one connection being served */
    size_t frame_max;
    bool reuse_port;
};

struct api_tcp_env {
    struct loop *loop;
    struct engine *engine;
    struct archive *archive;
    struct topics *topics; /* may be NULL: then a msg to a topic is UNAVAILABLE */
};

struct api_tcp *api_tcp_open(const struct api_tcp_conf *conf, const struct api_tcp_env *env,
                             struct reason *reason);
int api_tcp_port(const struct api_tcp *api);
void api_tcp_set_token(struct api_tcp *api,
                       const char *token); /* for those who connect from now on */
void api_tcp_drain(struct api_tcp *api);   /* accepts no more, answers what is in flight */
int api_tcp_in_flight(const struct api_tcp *api);
int api_tcp_connections(const struct api_tcp *api);
uint64_t api_tcp_refused(const struct api_tcp *api); /* connections, since the start */
/* The engine and the archive have answered all by now, or never will. */
void api_tcp_free(struct api_tcp *api);

#endif
