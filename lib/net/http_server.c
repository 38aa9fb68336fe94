/*
 * Life of a connection:
 *
 *   HEAD ──head complete──▶ BODY ──complete──▶ HANDLING ──http_reply──▶ HEAD (kept alive)
 *     │                       │                     └──────────────────▶ LAST (to be closed)
 *     └────── refused ────────┴────────────────────────────────────────▶ LAST
 *   LAST ──answer written──▶ LINGER ──peer closes, or 2 s──▶ gone
 *
 * HEAD and BODY have the deadline for the whole request, begun with its first byte; HANDLING has
 * none and reads nothing, so a pipelining client waits its turn. LAST and LINGER throw away what
 * still arrives: closing with unread bytes would reset the connection and lose the answer.
 */
#include "net/http_request.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "net/admission.h"
#include "net/http_stream.h"
#include "net/socket.h"

#include <errno.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

enum {
    OUT_HIGH = 262144, /* unsent bytes from which on no further request is taken */
    LINGER_MS = 2000,
    ACCEPT_RETRY_MS = 100,
    IDLE_DEFAULT_MS = 75000,
    CONNECTIONS_DEFAULT = 10000,
};

static const char allow_header[] = "Allow: GET, POST, PUT, DELETE, HEAD, OPTIONS\r\n";
static const char retry_header[] = "Retry-After: 1\r\n";

enum conn_state { CONN_HEAD, CONN_BODY, CONN_HANDLING, CONN_LAST, CONN_LINGER };

struct server_conn {
    struct server_conn *prev, *next;
    struct http_server *server;
    struct http_stream *stream;
    struct http_request *request; /* from its complete head to its answer */
    enum conn_state state;
    size_t used;    /* bytes of the input that are done with */
    size_t scanned; /* bytes behind those that were searched for the end of the head */
    bool begun;     /* the first byte of a request is here */
    bool stepping;
    bool eof;
    bool gone;
    struct admission_pass pass;
    struct quota_share share; /* of the answers */
    struct loop_task step;
    char peer[ADDRESS_TEXT_SIZE];
};

struct http_server {
    struct loop *loop;
    struct http_server_conf conf;
    struct evconnlistener *listener;
    struct loop_timer accept_retry;
    void (*handle)(void *arg, struct http_request *request);
    void *arg;
    struct server_conn *conns;
    struct admission admission;
    struct http_request *handed;
    int in_flight;
    int port;
    char address[ADDRESS_TEXT_SIZE]; /* where it listens; so are clients of a unix socket called */
    bool draining;
    int64_t date_s; /* the second for which `date` holds */
    char date[40];
    uint64_t id_prefix;
    uint64_t id_next;
};

/* ---- answers ---- */

static void conn_step(void *arg);
static void conn_drop(struct server_conn *conn);

static int64_t now_ms(const struct server_conn *conn)
{
    return loop_now_ms(conn->server->loop);
}

static const char *date_text(struct http_server *server)
{
    int64_t now_s = clock_wall_ms() / 1000;
    if (now_s != server->date_s) {
        time_t when = (time_t)now_s;
        struct tm tm;
        gmtime_r(&when, &tm);
        strftime(server->date, sizeof(server->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        server->date_s = now_s;
    }
    return server->date;
}

struct answer {
    int status;
    const char *content_type;
    struct slice body;
    struct slice extra;
    const char *id;
    int minor; /* of the request's HTTP version */
    bool close;
    bool head_only;
};

/* The server's own words, in the form that the program gives them. */
static void set_refusal(const struct http_server *server, struct answer *answer, int status,
                        const char *why)
{
    const char *text = server->conf.error_body ? server->conf.error_body(status, why) : why;
    answer->status = status;
    answer->content_type = server->conf.error_body ? "application/json" : "text/plain";
    answer->body = slice_str(text);
}

/* What must wait until the client takes it needs room. */
static void make_room(struct server_conn *conn, struct answer *answer)
{
    if (!quota_set(&conn->share, http_stream_unsent(conn->stream) + answer->body.len)) {
        set_refusal(conn->server, answer, 503, quota_text);
        answer->extra = slice_str(retry_header);
    }
}

static void write_answer(struct server_conn *conn, const struct answer *answer)
{
    char head[512];
    bool bodiless = answer->status == 204 || answer->status == 304;
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %d %s\r\nDate: %s\r\n", answer->status,
                     http_status_text(answer->status), date_text(conn->server));
    http_stream_add(conn->stream, head, (size_t)n);
    if (!bodiless) {
        n = snprintf(head, sizeof(head), "Content-Type: %.200s\r\nContent-Length: %zu\r\n",
                     answer->content_type, answer->body.len);
        http_stream_add(conn->stream, head, (size_t)n);
    }
    n = snprintf(head, sizeof(head), "%s%s%s%s", answer->id ? "X-Request-Id: " : "",
                 answer->id ? answer->id : "", answer->id ? "\r\n" : "",
                 answer->close       ? "Connection: close\r\n"
                 : answer->minor < 1 ? "Connection: keep-alive\r\n"
                                     : "");
    http_stream_add(conn->stream, head, (size_t)n);
    http_stream_add(conn->stream, answer->extra.ptr, answer->extra.len);
    http_stream_add(conn->stream, "\r\n", 2);
    if (!bodiless && !answer->head_only) {
        http_stream_add(conn->stream, answer->body.ptr, answer->body.len);
    }
}

static void answer_last(struct server_conn *conn, const struct answer *answer)
{
    write_answer(conn, answer);
    conn->state = CONN_LAST;
    conn->begun = false;
    conn->used = conn->stream->in.len;
    http_stream_hold(conn->stream, false);
    http_stream_set_deadline(conn->stream, now_ms(conn) + conn->server->conf.timeout_ms);
}

static struct slice extra_headers(int status)
{
    return slice_str(status == 405                    ? allow_header
                     : status == 429 || status == 503 ? retry_header
                                                      : "");
}

/* Answers what is wrong with a request that never reaches the handler. */
static void refuse(struct server_conn *conn, int status, const char *why)
{
    struct answer answer = {.extra = extra_headers(status), .minor = 1, .close = true};
    set_refusal(conn->server, &answer, status, why);
    if (conn->server->conf.refused && conn->pass.verdict == ADMISSION_IN) {
        conn->server->conf.refused(conn->server->arg, status);
    }
    log_debug("http", "msg=\"refused\" peer=%s status=%d why=\"%s\"", conn->peer, status, why);
    answer_last(conn, &answer);
}

static void answer_request(struct server_conn *conn, const struct answer *answer)
{
    if (answer->close) {
        answer_last(conn, answer);
        return;
    }
    write_answer(conn, answer);
    conn->state = CONN_HEAD;
    conn->begun = false;
    http_stream_hold(conn->stream, false);
    http_stream_set_deadline(conn->stream, now_ms(conn) + conn->server->conf.timeout_ms);
    if (!conn->stepping) {
        loop_defer(conn->server->loop, &conn->step, conn_step, conn);
    }
}

static void unhand(struct http_request *request)
{
    if (request->handed) {
        request->handed = false;
        DL_DELETE(request->server->handed, request);
        request->server->in_flight--;
    }
}

int http_reply(struct http_request *request, int status, const char *content_type,
               struct slice body)
{
    struct server_conn *conn = request->conn;
    unhand(request);
    if (conn) {
        struct answer answer = {
            .status = status,
            .content_type = content_type ? content_type : "application/octet-stream",
            .body = body,
            .extra = buf_slice(&request->extra),
            .id = request->id,
            .minor = request->head.minor,
            .close = !request->head.keep_alive || conn->server->draining,
            .head_only = request->method == HTTP_HEAD,
        };
        conn->request = NULL;
        make_room(conn, &answer);
        status = answer.status;
        answer_request(conn, &answer);
    }
    http_request_free(request);
    return status;
}

/* ---- reading ---- */

static struct slice unread(const struct server_conn *conn)
{
    const struct buf *in = &conn->stream->in;
    return slice_make(in->data + conn->used, in->len - conn->used);
}

static void make_id(struct http_server *server, char out[HTTP_ID_SIZE])
{
    snprintf(out, HTTP_ID_SIZE, "%08llx-%llx", (unsigned long long)server->id_prefix,
             (unsigned long long)++server->id_next);
}

/* Methods that the handler never sees. True when the request is answered. */
static bool answer_method(struct server_conn *conn)
{
    struct http_request *request = conn->request;
    struct slice name = request->head.method;
    if (request->method != HTTP_OTHER) {
        return false;
    }
    if (slice_eq_str(name, "OPTIONS")) {
        buf_add_str(&request->extra, allow_header);
        http_reply(request, 204, NULL, slice_make(NULL, 0));
        return true;
    }
    bool known =
        slice_eq_str(name, "PATCH") || slice_eq_str(name, "TRACE") || slice_eq_str(name, "CONNECT");
    conn->request = NULL;
    http_request_free(request);
    refuse(conn, known ? 405 : 501, "the method must be GET, POST, PUT, DELETE, HEAD or OPTIONS");
    return true;
}

static void begin_request(struct server_conn *conn, struct http_request *request)
{
    request->server = conn->server;
    request->conn = conn;
    request->share.quota = conn->server->conf.quota;
    memcpy(request->peer, conn->peer, sizeof(request->peer));
    conn->request = request;
    conn->state = CONN_BODY;
    bool has_body = request->head.framing == HTTP_BODY_CHUNKED || request->head.length > 0;
    if (request->head.expects_continue && has_body && unread(conn).len == 0) {
        http_stream_add(conn->stream, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
}

static void parse_head(struct server_conn *conn, struct slice head)
{
    struct http_server *server = conn->server;
    struct http_request *request;
    const char *why = NULL;
    char id[HTTP_ID_SIZE];
    make_id(server, id);
    int status = http_request_new(head, server->conf.body_max, id, &request, &why);
    conn->used += head.len;
    conn->scanned = 0;
    if (status) {
        refuse(conn, status, why);
    } else {
        begin_request(conn, request);
    }
}

/* Blank lines in front of a request are skipped, as RFC 9112 section 2.2 asks. */
static void skip_blank_lines(struct server_conn *conn)
{
    struct slice in = unread(conn);
    while (!conn->begun && in.len >= 2 && in.ptr[0] == '\r' && in.ptr[1] == '\n') {
        conn->used += 2;
        in = unread(conn);
    }
}

/* The three below return whether it is worth going on at once. */
static bool read_head(struct server_conn *conn)
{
    struct http_server *server = conn->server;
    skip_blank_lines(conn);
    struct slice in = unread(conn);
    if (in.len == 0) {
        return false;
    }
    if (!conn->begun) {
        conn->begun = true;
        http_stream_set_deadline(conn->stream, now_ms(conn) + server->conf.timeout_ms);
    }
    size_t len = 0;
    enum err err = http_head_find(in, &conn->scanned, &len);
    if (err == ERR_PROTOCOL) {
        refuse(conn, 400, "a line does not end in CR LF");
    } else if ((err ? in.len : len) > server->conf.header_max) {
        refuse(conn, 431, "first line and headers are too large");
    } else if (!err) {
        parse_head(conn, slice_make(in.ptr, len));
        return true;
    }
    return false;
}

static void dispatch(struct server_conn *conn)
{
    struct http_server *server = conn->server;
    struct http_request *request = conn->request;
    conn->state = CONN_HANDLING;
    http_stream_set_deadline(conn->stream, 0);
    http_stream_hold(conn->stream, true);
    if (answer_method(conn)) {
        return;
    }
    request->handed = true;
    DL_APPEND(server->handed, request);
    server->in_flight++;
    server->handle(server->arg, request);
}

static bool read_body(struct server_conn *conn)
{
    struct slice before = unread(conn);
    struct slice in = before;
    enum err err = http_body_feed(&conn->request->body, &in);
    conn->used += before.len - in.len;
    if (!quota_set(&conn->request->share, conn->request->body.bytes.len)) {
        http_request_free(conn->request);
        conn->request = NULL;
        refuse(conn, 503, quota_text);
        return false;
    }
    if (err == ERR_OK) {
        dispatch(conn);
        return true;
    }
    if (err != ERR_UNAVAILABLE) {
        http_request_free(conn->request);
        conn->request = NULL;
        refuse(conn, err == ERR_LIMIT ? 413 : 400,
               err == ERR_LIMIT ? "the body is too large" : "the chunked body is malformed");
    }
    return false;
}

/* No complete request can come any more. */
static void end_after_answers(struct server_conn *conn)
{
    if (http_stream_unsent(conn->stream) > 0) {
        conn->state = CONN_LAST;
    } else {
        conn_drop(conn);
    }
}

static bool step_once(struct server_conn *conn)
{
    if (conn->gone || http_stream_unsent(conn->stream) > OUT_HIGH) {
        return false;
    }
    switch (conn->state) {
    case CONN_HEAD: return read_head(conn);
    case CONN_BODY: return read_body(conn);
    case CONN_HANDLING: return false;
    case CONN_LAST:
    case CONN_LINGER: conn->used = conn->stream->in.len; return false;
    }
    return false;
}

/* Takes as many requests off the input as can be answered now. */
static void conn_step(void *arg)
{
    struct server_conn *conn = arg;
    conn->stepping = true;
    while (step_once(conn)) {
    }
    conn->stepping = false;
    if (conn->gone) {
        return;
    }
    buf_drop_front(&conn->stream->in, conn->used);
    conn->used = 0;
    if (conn->state == CONN_HEAD || conn->state == CONN_BODY) {
        bool full = http_stream_unsent(conn->stream) > OUT_HIGH;
        http_stream_hold(conn->stream, full);
        if (conn->eof && !full) {
            end_after_answers(conn);
        }
    }
}

/* ---- connections ---- */

static void accept_more(struct http_server *server)
{
    if (!server->draining && !admission_is_shut(&server->admission)) {
        evconnlistener_enable(server->listener);
    }
}

/* A request in the handler's hands survives; its answer will be dropped. */
static void conn_drop(struct server_conn *conn)
{
    struct http_server *server = conn->server;
    conn->gone = true;
    if (conn->request && conn->request->handed) {
        conn->request->conn = NULL;
    } else if (conn->request) {
        http_request_free(conn->request);
    }
    conn->request = NULL;
    quota_set(&conn->share, 0);
    loop_undefer(server->loop, &conn->step);
    http_stream_close(conn->stream);
    DL_DELETE(server->conns, conn);
    admission_leave(&server->admission, &conn->pass);
    loop_defer_free(server->loop, conn, free);
    accept_more(server);
}

static void on_bytes(void *arg)
{
    conn_step(arg);
}

static void on_drained(void *arg)
{
    struct server_conn *conn = arg;
    struct http_server *server = conn->server;
    quota_set(&conn->share, 0);
    if (conn->state == CONN_LAST && conn->eof) {
        conn_drop(conn);
    } else if (conn->state == CONN_LAST) {
        conn->state = CONN_LINGER;
        http_stream_end(conn->stream);
        http_stream_set_deadline(conn->stream, now_ms(conn) + LINGER_MS);
    } else if (conn->state == CONN_HEAD && !conn->begun && server->draining) {
        conn_drop(conn);
    } else if (conn->state == CONN_HEAD && !conn->begun) {
        http_stream_set_deadline(conn->stream, now_ms(conn) + server->conf.idle_ms);
    }
    if (!conn->gone && conn->stream->held && conn->state != CONN_HANDLING) {
        conn_step(conn); /* it waited for the client to take its answers */
    }
}

/* A client may close its sending side and still wait for answers. */
static void on_ended(void *arg, const char *why)
{
    struct server_conn *conn = arg;
    if (why || conn->state == CONN_LINGER) {
        conn_drop(conn);
        return;
    }
    conn->eof = true;
    conn_step(conn); /* there may be requests that wait for their turn */
}

static void on_late(void *arg)
{
    struct server_conn *conn = arg;
    bool reading = conn->begun && (conn->state == CONN_HEAD || conn->state == CONN_BODY);
    if (!reading || http_stream_unsent(conn->stream) > 0) {
        conn_drop(conn);
        return;
    }
    if (conn->request) {
        http_request_free(conn->request);
        conn->request = NULL;
    }
    refuse(conn, 408, "the request did not arrive in time");
}

static const struct http_stream_events conn_events = {
    .bytes = on_bytes, .drained = on_drained, .ended = on_ended, .late = on_late};

static void turn_away(struct server_conn *conn)
{
    bool full = conn->pass.verdict == ADMISSION_FULL;
    refuse(conn, full ? 503 : 429, admission_text(conn->pass.verdict));
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
                      int addr_len, void *arg)
{
    (void)addr_len;
    struct http_server *server = arg;
    struct admission_pass pass = admission_enter(&server->admission, addr);
    if (pass.verdict == ADMISSION_AWAY) {
        close(fd);
        return;
    }
    struct server_conn *conn = mem_new(struct server_conn);
    conn->server = server;
    conn->pass = pass;
    conn->share.quota = server->conf.quota;
    if (addr->sa_family == AF_UNIX) { /* it has no name: there is nothing behind the family */
        memcpy(conn->peer, server->address, sizeof(conn->peer));
    } else {
        address_format(addr, conn->peer);
    }
    socket_set_tcp(fd);
    conn->stream = http_stream_new(server->loop, fd, &conn_events, conn);
    http_stream_set_deadline(conn->stream, now_ms(conn) + server->conf.timeout_ms);
    DL_APPEND(server->conns, conn);
    if (pass.verdict != ADMISSION_IN) {
        turn_away(conn);
    }
    if (admission_is_shut(&server->admission)) {
        evconnlistener_disable(listener);
    }
}

/* Out of descriptors: trying again at once would only burn the processor. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct http_server *server = arg;
    log_warn("http", "msg=\"cannot accept\" error=\"%s\"", strerror(errno));
    evconnlistener_disable(listener);
    loop_timer_set(&server->accept_retry, loop_now_ms(server->loop) + ACCEPT_RETRY_MS);
}

static void on_accept_retry(void *arg)
{
    accept_more(arg);
}

/* ---- the server ---- */

static void set_conf(struct http_server *server, const struct http_server_conf *conf)
{
    server->conf = *conf;
    server->conf.address = NULL;
    snprintf(server->address, sizeof(server->address), "%s", conf->address);
    server->conf.idle_ms = conf->idle_ms > 0 ? conf->idle_ms : IDLE_DEFAULT_MS;
    admission_init(&server->admission,
                   conf->connections_max > 0 ? conf->connections_max : CONNECTIONS_DEFAULT,
                   conf->client_max);
}

struct http_server *http_server_open(struct loop *loop, const struct http_server_conf *conf,
                                     void (*handle)(void *arg, struct http_request *request),
                                     void *arg, struct reason *reason)
{
    int fd = socket_listen(conf->address, conf->reuse_port, reason);
    if (fd < 0) {
        return NULL;
    }
    struct http_server *server = mem_new(struct http_server);
    set_conf(server, conf);
    server->loop = loop;
    server->handle = handle;
    server->arg = arg;
    server->port = socket_port(fd);
    rng_secret(&server->id_prefix, sizeof(server->id_prefix));
    server->id_prefix &= 0xFFFFFFFF;
    loop_timer_init(&server->accept_retry, loop, on_accept_retry, server);
    server->listener = evconnlistener_new(loop_base(loop), on_accept, server,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    check(server->listener);
    evconnlistener_set_error_cb(server->listener, on_accept_error);
    return server;
}

int http_server_port(const struct http_server *server)
{
    return server->port;
}

int http_server_in_flight(const struct http_server *server)
{
    return server->in_flight;
}

int http_server_connections(const struct http_server *server)
{
    return server->admission.count;
}

uint64_t http_server_refused(const struct http_server *server)
{
    return server->admission.refused;
}

static void stop_accepting(struct http_server *server)
{
    server->draining = true;
    loop_timer_clear(&server->accept_retry);
    if (server->listener) {
        evconnlistener_free(server->listener);
        server->listener = NULL;
    }
}

void http_server_drain(struct http_server *server)
{
    stop_accepting(server);
    struct server_conn *conn;
    struct server_conn *next;
    DL_FOREACH_SAFE(server->conns, conn, next)
    {
        if (conn->state == CONN_HEAD && !conn->begun && conn->stream->in.len == 0 &&
            http_stream_unsent(conn->stream) == 0) {
            conn_drop(conn);
        }
    }
}

void http_server_free(struct http_server *server)
{
    stop_accepting(server);
    while (server->conns) {
        conn_drop(server->conns);
    }
    while (server->handed) {
        struct http_request *request = server->handed;
        unhand(request);
        http_request_free(request);
    }
    loop_defer_free(server->loop, server, free);
}
