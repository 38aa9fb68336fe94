/*
 * Inside of caller_net: how one call is sent over one of the two protocols. A link does neither
 * limits nor lines.
 */
#ifndef COORDINATOR_CALLER_NET_LINK_H
#define COORDINATOR_CALLER_NET_LINK_H

#include "base/buf.h"
#include "coordinator/caller.h"
#include "coordinator/trace.h"
#include "net/http.h"
#include "net/loop.h"

/* One branch call, ready to be sent; views, valid while it is being sent. */
struct link_call {
    struct slice gid, branch_id, op, trans_type;
    struct slice rest; /* tcp: method; http: path and query */
    struct slice host; /* http: for the header Host, when the address is not what it is called */
    struct slice payload;
    const struct txn_header *headers;
    size_t header_count;
    int64_t started_ms;  /* of the transaction */
    int64_t deadline_ms; /* on loop_now_ms */
    const char *traceparent;
    bool json_rpc; /* http: the transaction has the protocol json-rpc */
};

/* Payloads in flight to one participant: beyond, calls wait in line, whatever their number. */
enum { LINK_BYTES_MAX = 8 * 1024 * 1024 };

/* What became of the call, as far as the connection knows. */
enum link_fate {
    LINK_ANSWERED, /* whatever the verdict */
    LINK_UNSENT,   /* no connection, or the participant is stopping and passes it on */
    LINK_BROKEN,   /* the connection ended before the answer: effect unknown */
    LINK_SILENT,   /* no answer by the deadline: effect unknown */
    LINK_REFUSED,  /* not sent, and that says nothing about the participant */
};

/* Exactly once, never from inside the sending call. The message is valid during the callback. */
typedef void (*link_cb)(void *arg, enum link_fate fate, enum call_verdict verdict,
                        struct slice message);
/* Of a call that ended without an answer. */
enum link_fate link_fate_of(enum err err);

/* ---- tcp: a few connections to one address ---- */

struct tcp_link;

struct tcp_link_conf {
    const char *address; /* copied */
    const char *program;
    const char *token;
    int connections;
    int in_flight_max;
    int64_t connect_timeout_ms;
    size_t answer_max;
};

struct tcp_link *tcp_link_new(struct loop *loop, const struct tcp_link_conf *conf);
void tcp_link_free(struct tcp_link *link); /* calls in flight complete as ERROR in this turn */
void tcp_link_send(struct tcp_link *link, const struct link_call *call, link_cb cb, void *arg);

/* ---- http: DTM's conventions, one client for all addresses ---- */

/* Bytes of a body in which the words ONGOING and FAILURE are looked for. */
enum { HTTP_BODY_MATCH_MAX = 64 * 1024 };

void http_link_send(struct http_client *client, struct loop *loop, const char *address,
                    const struct link_call *call, link_cb cb, void *arg);
/* Of an answer without the header `Saga-Result: CONFLICT`, which no SDK of DTM sends: it is a
 * CONFLICT at any status and with any body. DTM's order: 425 or a body with ONGOING, then 409 or a
 * body with FAILURE, each at any status; then any 2xx is success (DTM: 200 only) and the rest is
 * unclear. */
enum call_verdict http_verdict(int status, struct slice body);

/* ---- http with JSON-RPC: a POST of {jsonrpc, method, params, id} to the url as it is ---- */

/* Of "…?method=pay"; empty: the url has none, and is called like any other. */
struct slice json_rpc_method(struct slice rest);
/* params: the members of the payload, which is a JSON object (or empty, or null), then gid,
 * trans_type, branch_id and op. Any other payload becomes the string `data`. */
void json_rpc_add_request(struct buf *out, const struct link_call *call);
/* The codes of `error` first: -32901 FAILURE, -32902 ONGOING, -32903 CONFLICT; then as over HTTP,
 * where success takes an object without `error`. */
enum call_verdict json_rpc_verdict(int status, struct slice body);

#endif
