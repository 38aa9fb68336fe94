#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

const struct rpc_limits rpc_limits_default = {
    .frame_max = (size_t)4 << 20,
    .out_high = (size_t)4 << 20,
    .in_flight_max = 4096,
    .handshake_ms = 5000,
    .idle_ms = 0,
};

/* A connection's requests in flight may hold about so many of the largest frames. */
enum { IN_FLIGHT_FRAMES = 4, RETRY_AFTER_MS = 1000 };

/* One connection. Lives until it is closed and its last request is answered. */
struct peer {
    struct peer *prev, *next;  /* of the server, as long as it lives */
    struct rpc_server *server; /* NULL: freed */
    struct loop *loop;
    struct conn *conn; /* NULL: gone */
    bool greeted;
    int in_flight;
    size_t in_flight_bytes;
    struct quota_share share;  /* of these */
    struct rpc_request *spare; /* free list */
    struct loop_timer handshake;
};

struct rpc_request {
    struct peer *peer;
    struct wire_message message;
    size_t bytes;             /* of its frame */
    struct rpc_request *next; /* in the free list */
};

struct rpc_server {
    struct loop *loop;
    char *program;
    char *token;
    struct rpc_limits limits;
    struct conn_listener *listener; /* NULL: draining */
    int port;
    void (*handle)(void *arg, struct rpc_request *request);
    void *arg;
    struct peer *peers;
    int in_flight;
    struct buf out;
};

/* ---- the end of a connection ---- */

static void peer_free(void *ptr)
{
    struct peer *peer = ptr;
    while (peer->spare) {
        struct rpc_request *next = peer->spare->next;
        free(peer->spare);
        peer->spare = next;
    }
    free(peer);
}

static void peer_free_when_unused(struct peer *peer)
{
    if (!peer->conn && peer->in_flight == 0) {
        if (peer->server) {
            DL_DELETE(peer->server->peers, peer);
        }
        loop_defer_free(peer->loop, peer, peer_free);
    }
}

/* The conn is gone or closed already. */
static void peer_lost(struct peer *peer)
{
    loop_timer_clear(&peer->handshake);
    peer->conn = NULL;
    peer_free_when_unused(peer);
}

static void peer_close(struct peer *peer, bool flush)
{
    conn_close(peer->conn, flush);
    peer_lost(peer);
}

static void peer_send(struct peer *peer, const struct wire_message *message)
{
    struct buf *out = &peer->server->out;
    buf_clear(out);
    wire_encode(out, message);
    conn_send_framed(peer->conn, buf_slice(out));
}

static void peer_send_error(struct peer *peer, uint64_t id, const struct wire_error *error)
{
    peer_send(peer, &(struct wire_message){.id = id, .kind = WIRE_ERROR, .error = *error});
}

/* Says why, then closes. */
static void peer_refuse(struct peer *peer, enum wire_error_code code, const char *field,
                        const char *message)
{
    log_info("rpc", "msg=\"connection refused\" peer=%s why=\"%s\"", conn_peer(peer->conn),
             message);
    peer_send_error(peer, 0, &(struct wire_error){code, slice_str(message), slice_str(field), 0});
    peer_close(peer, true);
}

static void on_closed(void *arg, enum err err, const char *why)
{
    struct peer *peer = arg;
    log_debug("rpc", "msg=\"connection ended\" peer=%s why=\"%s\"", conn_peer(peer->conn), why);
    if (err == ERR_LIMIT || err == ERR_PROTOCOL || err == ERR_BUSY) { /* see conn.h */
        struct wire_error error = {.code = err == ERR_LIMIT  ? WIRE_ERROR_LIMIT
                                           : err == ERR_BUSY ? WIRE_ERROR_BUSY
                                                             : WIRE_ERROR_INVALID,
                                   .message = slice_str(why),
                                   .retry_after_ms = err == ERR_BUSY ? RETRY_AFTER_MS : 0};
        peer_send_error(peer, 0, &error);
    }
    peer_lost(peer);
}

static void on_handshake_timeout(void *arg)
{
    peer_refuse(arg, WIRE_ERROR_INVALID, "hello", "no hello in time");
}

/* ---- hello ---- */

static bool token_fits(const struct rpc_server *server, struct slice token)
{
    return server->token[0] == '\0' || slice_eq_secret(token, slice_str(server->token));
}

static void greet(struct peer *peer, const struct wire_message *message)
{
    const struct rpc_server *server = peer->server;
    if (message->kind != WIRE_HELLO) {
        peer_refuse(peer, WIRE_ERROR_INVALID, "hello", "the first frame must be a hello");
    } else if (message->hello.version != WIRE_VERSION) {
        char text[96];
        snprintf(text, sizeof(text), "version %u is not supported, only %d",
                 (unsigned)message->hello.version, WIRE_VERSION);
        peer_refuse(peer, WIRE_ERROR_VERSION, "version", text);
    } else if (!token_fits(server, message->hello.token)) {
        peer_refuse(peer, WIRE_ERROR_DENIED, "token",
                    message->hello.token.len > 0 ? "wrong token" : "a token is required");
    } else {
        peer->greeted = true;
        loop_timer_clear(&peer->handshake);
        peer_send(peer, &(struct wire_message){.kind = WIRE_HELLO,
                                               .hello = {.version = WIRE_VERSION,
                                                         .program = slice_str(server->program)}});
    }
}

/* ---- requests ---- */

static struct rpc_request *request_new(struct peer *peer)
{
    struct rpc_request *request = peer->spare;
    if (request) {
        peer->spare = request->next;
    } else {
        request = mem_alloc(sizeof(*request));
    }
    request->peer = peer;
    return request;
}

static void request_free(struct rpc_request *request)
{
    wire_message_fini(&request->message);
    request->next = request->peer->spare;
    request->peer->spare = request;
}

/* Backpressure: no further request is read before an earlier one is answered. */
static void update_hold(struct peer *peer)
{
    check(peer->server); /* a freed server has closed its connections */
    const struct rpc_limits *limits = &peer->server->limits;
    conn_hold(peer->conn, peer->in_flight >= limits->in_flight_max ||
                              peer->in_flight_bytes >= IN_FLIGHT_FRAMES * limits->frame_max);
}

static void request_end(struct rpc_request *request)
{
    struct peer *peer = request->peer;
    check(peer->in_flight > 0 && peer->in_flight_bytes >= request->bytes);
    peer->in_flight_bytes -= request->bytes;
    peer->in_flight--;
    quota_set(&peer->share, peer->in_flight_bytes);
    request_free(request);
    if (peer->server) {
        peer->server->in_flight--;
    }
    if (peer->conn) {
        update_hold(peer);
    } else {
        peer_free_when_unused(peer);
    }
}

static void request_fail_busy(struct rpc_request *request)
{
    struct wire_message reply = {.kind = WIRE_ERROR,
                                 .error = {.code = WIRE_ERROR_BUSY,
                                           .message = slice_str(quota_text),
                                           .retry_after_ms = RETRY_AFTER_MS}};
    rpc_request_reply(request, &reply);
}

static void request_start(struct rpc_request *request)
{
    struct peer *peer = request->peer;
    struct rpc_server *server = peer->server;
    peer->in_flight++;
    peer->in_flight_bytes += request->bytes;
    server->in_flight++;
    update_hold(peer);
    if (!server->listener) {
        rpc_request_fail(request, WIRE_ERROR_UNAVAILABLE, NULL, "shutting down");
        return;
    }
    if (!quota_set(&peer->share, peer->in_flight_bytes)) {
        request_fail_busy(request);
        return;
    }
    server->handle(server->arg, request);
}

/* A request with an id whose content is wrong gets its error and the connection goes on. */
static void refuse_frame(struct peer *peer, enum err err, uint64_t id, const char *why)
{
    if (err != ERR_INVALID || id == 0 || !peer->greeted) {
        peer_refuse(peer, WIRE_ERROR_INVALID, NULL, why);
        return;
    }
    const char *colon = strchr(why, ':');
    struct slice field = slice_make(why, colon ? (size_t)(colon - why) : 0);
    peer_send_error(peer, id,
                    &(struct wire_error){
                        .code = WIRE_ERROR_INVALID, .message = slice_str(why), .field = field});
}

/* What came after the hello. True: the request is started, else it is to be freed. */
static bool accept_request(struct rpc_request *request)
{
    struct peer *peer = request->peer;
    if (request->message.kind == WIRE_HELLO) {
        peer_refuse(peer, WIRE_ERROR_INVALID, "hello", "a second hello");
        return false;
    }
    if (request->message.kind == WIRE_ERROR) {
        return false; /* answering errors with errors would never end */
    }
    if (request->message.id == 0) {
        peer_refuse(peer, WIRE_ERROR_INVALID, "id", "a request must have an id above 0");
        return false;
    }
    request_start(request);
    return true;
}

static void on_frame(void *arg, struct slice bytes)
{
    struct peer *peer = arg;
    struct rpc_request *request = request_new(peer);
    struct reason reason = {""};
    request->bytes = bytes.len;
    enum err err = wire_decode(bytes, &request->message, &reason);
    if (err == ERR_OK && peer->greeted && accept_request(request)) {
        return;
    }
    if (err != ERR_OK) {
        refuse_frame(peer, err, request->message.id, reason.text);
    } else if (!peer->greeted) {
        greet(peer, &request->message);
    }
    request_free(request);
}

const struct wire_message *rpc_request_message(const struct rpc_request *request)
{
    return &request->message;
}

/* Not WIRE_ERROR_LIMIT: that says that a request was too much and nothing was done. */
static void reply_too_long(struct rpc_request *request, size_t bytes)
{
    struct peer *peer = request->peer;
    struct reason why;
    (void)reason_set(&why, ERR_LIMIT,
                     "the reply has %zu bytes, a frame at most %zu (frame_max); what was asked for "
                     "may have been done",
                     bytes, peer->server->limits.frame_max);
    log_warn("rpc", "msg=\"reply not sent\" peer=%s why=\"%s\"", conn_peer(peer->conn), why.text);
    rpc_request_fail(request, WIRE_ERROR_INTERNAL, NULL, why.text);
}

void rpc_request_reply(struct rpc_request *request, struct wire_message *reply)
{
    struct peer *peer = request->peer;
    reply->id = request->message.id;
    if (peer->conn) {
        struct buf *out = &peer->server->out;
        buf_clear(out);
        wire_encode(out, reply);
        if (out->len > peer->server->limits.frame_max) {
            reply_too_long(request, out->len);
            return;
        }
        conn_send_framed(peer->conn, buf_slice(out));
    }
    request_end(request);
}

void rpc_request_fail(struct rpc_request *request, enum wire_error_code code, const char *field,
                      const char *message)
{
    struct wire_message reply = {.kind = WIRE_ERROR,
                                 .error = {code, slice_str(message), slice_str(field), 0}};
    rpc_request_reply(request, &reply);
}

void rpc_request_drop(struct rpc_request *request)
{
    if (request->peer->conn) {
        peer_close(request->peer, false);
    }
    request_end(request);
}

/* ---- the server ---- */

static const struct conn_events peer_events = {.frame = on_frame, .closed = on_closed};

static void turn_away(struct rpc_server *server, struct conn *conn, const char *refusal)
{
    struct wire_message message = {.kind = WIRE_ERROR,
                                   .error = {.code = WIRE_ERROR_BUSY,
                                             .message = slice_str(refusal),
                                             .retry_after_ms = RETRY_AFTER_MS}};
    log_debug("rpc", "msg=\"connection refused\" peer=%s why=\"%s\"", conn_peer(conn), refusal);
    buf_clear(&server->out);
    wire_encode(&server->out, &message);
    conn_send_framed(conn, buf_slice(&server->out));
    conn_close(conn, true);
}

static void on_accepted(void *arg, struct conn *conn, const char *refusal)
{
    struct rpc_server *server = arg;
    if (refusal) {
        turn_away(server, conn, refusal);
        return;
    }
    struct peer *peer = mem_new(struct peer);
    peer->server = server;
    peer->loop = server->loop;
    peer->conn = conn;
    peer->share.quota = server->limits.quota;
    DL_APPEND(server->peers, peer);
    conn_set_events(conn, &peer_events, peer);
    loop_timer_init(&peer->handshake, server->loop, on_handshake_timeout, peer);
    loop_timer_set(&peer->handshake, loop_now_ms(server->loop) + server->limits.handshake_ms);
}

struct rpc_server *rpc_server_open(struct loop *loop, const struct rpc_server_conf *conf,
                                   void (*handle)(void *arg, struct rpc_request *request),
                                   void *arg, struct reason *reason)
{
    check(conf->limits.in_flight_max > 0 && conf->limits.frame_max >= RPC_FRAME_LEAST);
    struct rpc_server *server = mem_new(struct rpc_server);
    struct conn_listen_conf listen = {
        .address = conf->address,
        .connections_max = conf->connections_max,
        .client_max = conf->client_max,
        .reuse_port = conf->reuse_port,
        .limits = {.frame_max = conf->limits.frame_max,
                   .out_high = conf->limits.out_high,
                   .idle_ms = conf->limits.idle_ms,
                   .quota = conf->limits.quota},
    };
    server->listener = conn_listen(loop, &listen, on_accepted, server, reason);
    if (!server->listener) {
        free(server);
        return NULL;
    }
    server->loop = loop;
    server->program = mem_strdup(conf->program);
    server->token = mem_strdup(conf->token);
    server->limits = conf->limits;
    server->port = conn_listener_port(server->listener);
    server->handle = handle;
    server->arg = arg;
    return server;
}

void rpc_server_set_token(struct rpc_server *server, const char *token)
{
    free(server->token);
    server->token = mem_strdup(token);
}

int rpc_server_port(const struct rpc_server *server)
{
    return server->port;
}

void rpc_server_drain(struct rpc_server *server)
{
    if (server->listener) {
        conn_listener_free(server->listener);
        server->listener = NULL;
    }
}

int rpc_server_connections(const struct rpc_server *server)
{
    return server->listener ? conn_listener_connections(server->listener) : 0;
}

uint64_t rpc_server_refused(const struct rpc_server *server)
{
    return server->listener ? conn_listener_refused(server->listener) : 0;
}

int rpc_server_in_flight(const struct rpc_server *server)
{
    return server->in_flight;
}

static void server_free(void *ptr)
{
    struct rpc_server *server = ptr;
    buf_fini(&server->out);
    free(server->program);
    free(server->token);
    free(server);
}

void rpc_server_free(struct rpc_server *server)
{
    rpc_server_drain(server);
    struct peer *peer;
    struct peer *next;
    DL_FOREACH_SAFE(server->peers, peer, next)
    {
        peer->server = NULL;
        if (peer->conn) {
            peer_close(peer, true);
        }
    }
    loop_defer_free(server->loop, server, server_free);
}
