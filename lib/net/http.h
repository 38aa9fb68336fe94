/*
 * HTTP/1.1 server and client with keep-alive and pipelining.
 *
 * The grammar is taken strictly (RFC 9112): a message that two readers could understand differently
 * (two lengths, a bare line feed, white space before a colon, a folded header …) is refused.
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/err.h"
#include "base/slice.h"
#include "net/loop.h"
#include "net/quota.h"

enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_HEAD, HTTP_OTHER };

struct http_header {
    struct slice name;
    struct slice value;
};

/* ---- server ---- */

struct http_server;
struct http_request; /* lives until it is answered; the request of a vanished client as well */

struct http_server_conf {
    const char *address; /* "host:port", port 0: any free one; or "unix:/path" */
    size_t body_max;     /* larger bodies are answered 413 in the service's error shape */
    size_t header_max;   /* first line and headers together; beyond: 431 */
    int64_t timeout_ms;  /* for a client to send its whole request, and to take the answer */
    int64_t idle_ms;     /* a kept-alive connection without a request; 0: 75 s */
    /* Connections at a time, in all (0: 10 000) and from one client (net/admission.h; 0: no such
     * limit). Further ones are answered 503 or 429 and closed; when too many are being told so
     * already, they are closed without a word or wait to be accepted. */
    int connections_max, client_max;
    bool reuse_port; /* SO_REUSEPORT, for several workers */
    /* Of the bytes of bodies and answers; what has no room is answered 503. NULL: none. Must
     * outlive the server. */
    struct quota *quota;
    /* Makes the JSON body of the answers that this layer gives itself: 400, 405 (a method that enum
     * http_method does not know), 408, 413, 417, 429, 431, 501, 503, 505. The text is copied at
     * once. NULL: the message as plain text. */
    const char *(*error_body)(int status, const char *message);
    /* Told of each such answer to a request; not of connections that are turned away. May be NULL.
     */
    void (*refused)(void *arg, int status);
};

/* `handle` is called for each request and must answer it with http_reply, now or later. It never
 * sees HTTP_OTHER: this layer answers OPTIONS (204 with Allow) and other methods (405, 501) itself.
 * HEAD is to be answered as GET; the body is left out. Requests of one connection come one after
 * the other. */
struct http_server *http_server_open(struct loop *loop, const struct http_server_conf *conf,
                                     void (*handle)(void *arg, struct http_request *request),
                                     void *arg, struct reason *reason);
int http_server_port(const struct http_server *server);
/* Stops accepting and closes idle connections; requests in flight can still be answered, their
 * connections end with the answer. */
void http_server_drain(struct http_server *server);
int http_server_in_flight(const struct http_server *server); /* handled and not yet answered */
int http_server_connections(const struct http_server *server);
uint64_t http_server_refused(const struct http_server *server); /* connections, since the start */
/* Unanswered requests are dropped: their pointers must not be used any more. */
void http_server_free(struct http_server *server);

enum http_method http_request_method(const struct http_request *request);
/* Decoded, without the query. A path or query with %00 or a malformed escape never gets here. */
const char *http_request_path(const struct http_request *request);
struct slice http_request_body(const struct http_request *request);
const char *http_request_header(const struct http_request *request, const char *name); /* or NULL */
const char *http_request_query(const struct http_request *request, const char *name);  /* or NULL */
const char *http_request_peer(const struct http_request *request);
/* The client's X-Request-Id when it is one word of at most 64 letters, digits and "._-"; else made
 * up. The answer carries it. For logs. */
const char *http_request_id(const struct http_request *request);
/* Answers and ends the request. Extra headers may be NULL. When the client has gone, the answer is
 * dropped silently. Returns the status that it was answered with: 503 when the answer has no room.
 */
int http_reply(struct http_request *request, int status, const char *content_type,
               struct slice body);
/* Before http_reply. A name or value that could not stand in a header is left out. Content-Length,
 * Content-Type, Connection, Date and X-Request-Id are given by http_reply. */
void http_reply_header(struct http_request *request, const char *name, const char *value);

/* ---- client ---- */

struct http_client;

struct http_client_conf {
    int per_host_max; /* connections to one host:port; further calls wait in line */
    int waiting_max;  /* calls that wait per host; beyond: ERR_BUSY */
    int64_t connect_timeout_ms;
    int64_t idle_ms; /* unused connections are closed after this */
    size_t body_max; /* of an answer */
};

struct http_answer {
    /* ERR_OK: an answer came, whatever its status. ERR_CONNECT: not connected within
     * connect_timeout_ms, never sent. ERR_TIMEOUT: the deadline passed. */
    enum err err;
    const char *why; /* with an error: text for the log */
    int status;
    struct slice body; /* valid during the callback */
    /* Value of a response header or NULL; only during the callback. */
    const char *(*header)(const struct http_answer *answer, const char *name);
    void *internal;
};
typedef void (*http_answer_cb)(void *arg, const struct http_answer *answer);

struct http_call {
    enum http_method method;
    const char *url; /* http://host[:port]/path?query */
    /* May replace Host and Content-Type (application/json when there is a body). Connection,
     * Content-Length, Transfer-Encoding and Expect are this layer's own and left out. */
    const struct http_header *headers;
    size_t header_count;
    struct slice body; /* copied */
    int64_t
        deadline_ms; /* absolute, on loop_now_ms; passes: ERR_TIMEOUT and the connection closes */
};

struct http_client *http_client_new(struct loop *loop, const struct http_client_conf *conf);
/* Pending calls complete with ERR_CANCELLED before this returns. */
void http_client_free(struct http_client *client);
/* The callback comes exactly once, never from inside this call. No redirects are followed, no
 * cookies kept. A kept-alive connection that turns out to be closed before any byte of an answer is
 * replaced once, silently (branches are safe to repeat). Refuses with a reason, and then no
 * callback comes: ERR_INVALID for a malformed url, header or method; ERR_BUSY when too many calls
 * wait for this host; ERR_CANCELLED inside http_client_free. */
enum err http_client_call(struct http_client *client, const struct http_call *call,
                          http_answer_cb cb, void *arg, struct reason *reason) MUST_CHECK;

/* Pure: splits an http url; slices point into `url`. `port` is 80 when absent. Refuses https, user
 * names, control characters and spaces. */
struct http_url {
    struct slice host; /* without brackets */
    int port;
    struct slice path; /* with query, without fragment, "/" when empty; may begin with '?' */
};
enum err http_url_parse(const char *url, struct http_url *out, struct reason *reason) MUST_CHECK;
/* Adds `name=value`, percent-encoded, with '?' or '&' as needed, in front of a '#fragment'. */
struct buf;
void http_url_add_query(struct buf *url, const char *name, struct slice value);

#endif
