/*
 * Request/reply over the wire protocol: hello, multiplexing by id, deadlines. Both sides.
 */
#ifndef WIRE_RPC_H
#define WIRE_RPC_H

#include "net/conn.h"
#include "wire/message.h"

struct rpc_limits {
    size_t frame_max;     /* bytes, at least RPC_FRAME_LEAST */
    size_t out_high;      /* unsent bytes: above, a server stops reading and a client refuses */
    int in_flight_max;    /* requests of one connection being served: at the limit (or when they
                             hold 4 * frame_max bytes) its reading stops; or of one client */
    int64_t handshake_ms; /* hello must come within this */
    int64_t idle_ms;      /* server side: close after so long without a frame; 0: never */
    struct quota
        *quota; /* server side: of the bytes of requests and replies; a request without
                   room is answered WIRE_ERROR_BUSY, or its connection closed; NULL: none */
};
enum { RPC_FRAME_LEAST = 1024 };
/* 4 MiB frames, 4 MiB unsent, 4096 in flight, 5 s for the hello, no idle limit. */
extern const struct rpc_limits rpc_limits_default;

/* ---- client: one connection to one address, reconnected when needed ---- */

struct rpc_client;

struct rpc_client_conf {
    const char *address; /* "host:port" or "unix:/path" */
    const char *program; /* for the hello */
    const char *token;   /* NULL: none */
    int64_t connect_timeout_ms;
    struct rpc_limits limits;
};

/* ERR_OK: `reply` (valid during the callback) is a reply or a WIRE_ERROR frame with this request's
 * id; nobody has checked that it is the kind that fits the request.
 * Never sent, or never read because the peer had no room: ERR_CONNECT. Never sent: ERR_BUSY
 * (in_flight_max or out_high), ERR_LIMIT (over frame_max). Not executed: ERR_DENIED (token). Effect
 * unknown: ERR_CLOSED, ERR_TIMEOUT, ERR_CANCELLED and ERR_PROTOCOL (hello refused or the reply
 * cannot be read). `why` is for logs, never NULL. */
typedef void (*rpc_reply_cb)(void *arg, enum err err, const struct wire_message *reply,
                             const char *why);

struct rpc_client *rpc_client_new(struct loop *loop, const struct rpc_client_conf *conf);
/* Pending requests complete with ERR_CANCELLED at the end of the turn. No call may follow. */
void rpc_client_free(struct rpc_client *client);
/* Sends the request (its id is chosen here); connects first when needed. Everything queued in one
 * loop turn leaves in one write. The callback comes exactly once, never from inside this call.
 * After a failed connect, further attempts back off (20 ms doubling to 1 s); calls made meanwhile
 * fail with ERR_CONNECT at once (in the next turn). */
void rpc_client_call(struct rpc_client *client, const struct wire_message *request,
                     int64_t deadline_ms, rpc_reply_cb cb, void *arg);
int rpc_client_in_flight(const struct rpc_client *client);
bool rpc_client_is_connected(const struct rpc_client *client);

/* ---- server ---- */

struct rpc_server;
struct rpc_request; /* one request to answer; survives its connection */

struct rpc_server_conf {
    const char *address; /* "host:port", port 0: any free one; "unix:/path" */
    const char *program;
    const char *token;   /* NULL or "": none asked for; compared in constant time */
    int connections_max; /* at a time; further ones are refused with WIRE_ERROR_BUSY */
    int client_max;      /* of these, from one client (net/admission.h); 0: no such limit */
    bool reuse_port;
    struct rpc_limits limits;
};

/* `handle` is called for each request (after hello) and must answer it once, now or later. The
 * message is valid until the request is answered. */
struct rpc_server *rpc_server_open(struct loop *loop, const struct rpc_server_conf *conf,
                                   void (*handle)(void *arg, struct rpc_request *request),
                                   void *arg, struct reason *reason);
int rpc_server_port(const struct rpc_server *server);
/* For those who connect from now on. */
void rpc_server_set_token(struct rpc_server *server, const char *token);
/* Accepts no more connections; what is in flight can still be answered, new requests of present
 * connections get WIRE_ERROR_UNAVAILABLE. */
void rpc_server_drain(struct rpc_server *server);
int rpc_server_connections(const struct rpc_server *server);
uint64_t rpc_server_refused(const struct rpc_server *server); /* connections, since the start */
int rpc_server_in_flight(const struct rpc_server *server);
/* Closes all connections (what was replied before still leaves). Requests that are not answered yet
 * must still be answered; the answer is dropped. */
void rpc_server_free(struct rpc_server *server);

const struct wire_message *rpc_request_message(const struct rpc_request *request);
/* Sends the reply (its id is set here) and ends the request. Dropped when the peer has gone. One
 * over frame_max becomes WIRE_ERROR_INTERNAL: the request may have been done. */
void rpc_request_reply(struct rpc_request *request, struct wire_message *reply);
void rpc_request_fail(struct rpc_request *request, enum wire_error_code code, const char *field,
                      const char *message);
/* Ends the request without an answer and closes its connection: what a crash looks like to the
 * peer. For fault rules in tests. */
void rpc_request_drop(struct rpc_request *request);

#endif
