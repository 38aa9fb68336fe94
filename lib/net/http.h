/*
 * HTTP/1.1 server and client with keep-alive, on libevent's evhttp (whose types stay in net/).
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/err.h"
#include "base/slice.h"
#include "net/loop.h"

enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_HEAD, HTTP_OTHER };

struct http_header {
    struct slice name;
    struct slice value;
};

/* ---- server ---- */

struct http_server;
struct http_request; /* lives until it is answered; the request of a vanished client as well */

struct http_server_conf {
    const char *address;    /* "host:port", port 0: any free one */
    size_t body_max;        /* larger bodies are answered 413 in the service's error shape */
    size_t header_max;      /* of all headers together; beyond: 400 */
    int64_t timeout_ms;     /* for a client to send its request or take the answer */
    bool reuse_port;        /* SO_REUSEPORT, for several workers */
    /* Makes the body of the answers that this layer gives itself (404, 405, 413, 400). */
    const char *(*error_body)(int status, const char *message);
};

/* `handle` is called for each request and must answer it with http_reply, now or later. */
struct http_server *http_server_open(struct loop *loop, const struct http_server_conf *conf,
                                     void (*handle)(void *arg, struct http_request *request),
                                     void *arg, struct reason *reason);
int http_server_port(const struct http_server *server);
/* Stops accepting; requests in flight can still be answered. */
void http_server_drain(struct http_server *server);
int http_server_in_flight(const struct http_server *server);
void http_server_free(struct http_server *server); /* unanswered requests are dropped */

enum http_method http_request_method(const struct http_request *request);
const char *http_request_path(const struct http_request *request); /* decoded, without the query */
struct slice http_request_body(const struct http_request *request);
const char *http_request_header(const struct http_request *request, const char *name); /* or NULL */
const char *http_request_query(const struct http_request *request, const char *name);  /* or NULL */
const char *http_request_peer(const struct http_request *request);
/* Answers and ends the request. Extra headers may be NULL. When the client has gone, the answer is
 * dropped silently. */
void http_reply(struct http_request *request, int status, const char *content_type,
                struct slice body);
/* Before http_reply. */
void http_reply_header(struct http_request *request, const char *name, const char *value);

/* ---- client ---- */

struct http_client;

struct http_client_conf {
    int per_host_max;       /* connections to one host:port; further calls wait in line */
    int waiting_max;        /* calls that wait per host; beyond: ERR_BUSY */
    int64_t connect_timeout_ms;
    int64_t idle_ms;        /* unused connections are closed after this */
    size_t body_max;        /* of an answer */
};

struct http_answer {
    enum err err;      /* ERR_OK: an answer came, whatever its status */
    const char *why;   /* with an error: text for the log */
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
    const struct http_header *headers;
    size_t header_count;
    struct slice body;     /* copied */
    int64_t deadline_ms;   /* absolute, on loop_now_ms; passes: ERR_TIMEOUT and the connection closes */
};

struct http_client *http_client_new(struct loop *loop, const struct http_client_conf *conf);
void http_client_free(struct http_client *client); /* pending calls complete with ERR_CANCELLED */
/* The callback comes exactly once, never from inside this call. No redirects are followed, no
 * cookies kept. A kept-alive connection that turns out to be closed before any byte of an answer is
 * replaced once, silently (branches are safe to repeat). Refuses a malformed url or a CR/LF in a
 * header with ERR_INVALID and a reason: then no callback comes. */
enum err http_client_call(struct http_client *client, const struct http_call *call,
                          http_answer_cb cb, void *arg, struct reason *reason) MUST_CHECK;

/* Pure: splits an http url; slices point into `url`. `port` is 80 when absent. */
struct http_url {
    struct slice host; /* without brackets */
    int port;
    struct slice path; /* with query, "/" when empty */
};
enum err http_url_parse(const char *url, struct http_url *out, struct reason *reason) MUST_CHECK;
/* Appends `name=value`, percent-encoded, with '?' or '&' as needed. */
struct buf;
void http_url_add_query(struct buf *url, const char *name, struct slice value);

#endif
