/*
 * Connections that carry frames: standard length-delimited protobuf, i.e. a varint length and that
 * many bytes (net/frame.h). This layer does not know what is in a frame.
 *
 * Writing: frames queued within one loop turn leave in one write. Backpressure: while more than
 * `out_high` bytes wait to be written, an accepted connection stops reading, so a slow reader
 * cannot make this process grow. One that was connected goes on reading: two ends that wait for
 * each other would never come loose; its owner asks conn_is_clogged and limits what it has in
 * flight. A peer that takes nothing for `stall_ms` is cut off; over TCP the kernel does so after 10
 * s (net/socket.h).
 *
 * No event runs inside a function of this header: they come from the loop.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "base/err.h"
#include "base/slice.h"
#include "net/frame.h"
#include "net/loop.h"
#include "net/quota.h"

struct conn;
struct conn_listener;

struct conn_limits {
    size_t frame_max;    /* bytes of one frame; a longer announced length ends the connection */
    size_t out_high;     /* see above; must be above 0 */
    int64_t idle_ms;     /* closed when nothing is read for so long; 0: never */
    int64_t stall_ms;    /* closed when bytes wait but none could be written for so long; 0: 30 s */
    struct quota *quota; /* of bytes that were read or wait to be written; NULL: none. Must outlive
                            the connections */
};

struct conn_events {
    /* Connected (client side only; an accepted connection is connected from the beginning). */
    void (*opened)(void *arg);
    /* One whole frame; the bytes are valid during the call. */
    void (*frame)(void *arg, struct slice bytes);
    /* The connection ended; `why` is for the log. Comes exactly once unless conn_close was called,
     * and the conn is gone afterwards. ERR_LIMIT and ERR_PROTOCOL: the peer sent a frame over
     * frame_max or no frame at all. ERR_BUSY: no room in the quota. With these three a last frame
     * that is sent from inside this call, to say so, still reaches it, unless it takes nothing.
     * ERR_TIMEOUT: idle or stalled. */
    void (*closed)(void *arg, enum err err, const char *why);
};

/* Starts connecting to "host:port", "[v6]:port" or "unix:/path"; never fails at once (the error
 * comes through `closed`, ERR_CONNECT or ERR_TIMEOUT). Names are resolved without blocking; all
 * addresses of a name are tried. Frames may be queued before `opened`. */
struct conn *conn_connect(struct loop *loop, const char *address, int64_t timeout_ms,
                          const struct conn_limits *limits, const struct conn_events *events,
                          void *arg);
/* No event comes after this. What was queued before is still written when `flush`, within 5 s. The
 * pointer must not be used again. */
void conn_close(struct conn *conn, bool flush);
/* Queues one frame: the length is put in front. */
void conn_send(struct conn *conn, struct slice frame);
/* For encoders: queues bytes that begin with the varint length already. */
void conn_send_framed(struct conn *conn, struct slice bytes);
size_t conn_unsent(const struct conn *conn);
bool conn_is_clogged(const struct conn *conn);
/* The owner's own backpressure: while held, nothing is read and no frame is delivered; the peer's
 * end is seen after the release only. */
void conn_hold(struct conn *conn, bool held);
const char *conn_peer(const struct conn *conn); /* "127.0.0.1:4711"; for logs */
void conn_set_events(struct conn *conn, const struct conn_events *events, void *arg);

struct conn_listen_conf {
    const char *address; /* "host:port" (port 0: any free one, no host: all) or "unix:/path" */
    int connections_max; /* at a time; see conn_listen */
    int client_max;      /* of these, from one client (net/admission.h); 0: no such limit */
    bool reuse_port;     /* SO_REUSEPORT, for several workers */
    struct conn_limits limits;
};

/* Listens. `accepted` gets ownership of each connection and must call conn_set_events or
 * conn_close before it returns. One over a limit comes with a `refusal`: it is to be told so and
 * closed with flush; when too many are being told already, further ones are closed without a word,
 * and while there is no room for any client, accepting pauses. NULL with a reason when the address
 * cannot be had. */
struct conn_listener *conn_listen(struct loop *loop, const struct conn_listen_conf *conf,
                                  void (*accepted)(void *arg, struct conn *conn,
                                                   const char *refusal),
                                  void *arg, struct reason *reason);
int conn_listener_port(const struct conn_listener *listener); /* 0 for a unix socket */
int conn_listener_connections(const struct conn_listener *listener);
uint64_t conn_listener_refused(const struct conn_listener *listener); /* since the start */
void conn_listener_free(struct conn_listener *listener); /* accepted connections live on */

#endif
