/*
 * A call stands in exactly one place: in the line of its host, on a connection (which may still be
 * connecting), or it is done. Connections belong to their host and are connecting, busy or idle.
 *
 *   call ──idle connection, or room for a new one──▶ on a connection ──answer──▶ done
 *     └────────── no room: in line ──────────────────▲      │
 *                                                    └──────┘ kept-alive connection was dead: once
 *
 * Whoever completes a call does it as his last act, because the callback may start calls or free
 * the client.
 */
#include "net/http.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/dial.h"
#include "net/http_parse.h"
#include "net/http_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#define HASH_FUNCTION HASH_FNV /* clang takes the default's fall-through for a mistake */
#include <uthash.h>

enum { ANSWER_HEAD_MAX = 65536, WHY_SIZE = 160 };

struct client_call {
    struct client_call *prev, *next; /* in line */
    struct client_host *host;
    struct client_conn *conn; /* NULL: in line */
    struct buf request;       /* ready to be written, kept for the second try */
    bool to_head;
    bool tried_again;
    struct loop_timer timer;
    http_answer_cb cb;
    void *arg;
    char *head_bytes; /* of the answer */
    struct http_head head;
    struct http_body body;
    char why[WHY_SIZE];
};

struct client_conn {
    struct client_conn *prev, *next;
    struct client_host *host;
    struct dial *dial; /* while connecting */
    struct http_stream *stream;
    struct client_call *call; /* NULL: idle */
    size_t scanned;
    bool used_before; /* it has carried an answer */
    bool in_body;
};

struct client_host {
    struct http_client *client;
    struct client_conn *conns;
    int conn_count;
    struct client_call *line;
    int waiting;
    UT_hash_handle hh;
    char address[]; /* "host:port", the key */
};

struct http_client {
    struct loop *loop;
    struct http_client_conf conf;
    struct client_host *hosts;
    bool closing;
};

/* ---- calls ---- */

static const char *answer_header(const struct http_answer *answer, const char *name)
{
    return http_head_get(answer->internal, name);
}

static void call_free(struct client_call *call)
{
    loop_timer_clear(&call->timer);
    buf_fini(&call->request);
    http_head_fini(&call->head);
    http_body_fini(&call->body);
    free(call->head_bytes);
    free(call);
}

/* The call stands nowhere any more. */
static void complete(struct client_call *call, enum err err, const char *why)
{
    struct http_answer answer = {.err = err, .why = why, .header = answer_header};
    struct http_head none = {0};
    answer.internal = err ? &none : &call->head;
    if (!err) {
        answer.status = call->head.status;
        answer.body = buf_slice(&call->body.bytes);
    }
    loop_timer_clear(&call->timer);
    call->cb(call->arg, &answer);
    call_free(call);
}

static void line_add(struct client_host *host, struct client_call *call)
{
    DL_APPEND(host->line, call);
    host->waiting++;
}

static void line_remove(struct client_host *host, struct client_call *call)
{
    DL_DELETE(host->line, call);
    host->waiting--;
}

/* ---- connections ---- */

static const struct http_stream_events conn_events;
static void on_dialled(void *arg, enum err err, int fd, const char *why);

static void conn_close(struct client_conn *conn)
{
    struct client_host *host = conn->host;
    if (conn->dial) {
        dial_cancel(conn->dial);
    }
    if (conn->stream) {
        http_stream_close(conn->stream);
    }
    DL_DELETE(host->conns, conn);
    host->conn_count--;
    loop_defer_free(host->client->loop, conn, free);
}

static void conn_open(struct client_host *host, struct client_call *call)
{
    struct http_client *client = host->client;
    struct client_conn *conn = mem_new(struct client_conn);
    conn->host = host;
    conn->call = call;
    call->conn = conn;
    DL_APPEND(host->conns, conn);
    host->conn_count++;
    conn->dial =
        dial_start(client->loop, host->address, client->conf.connect_timeout_ms, on_dialled, conn);
}

static void conn_send(struct client_conn *conn)
{
    struct buf *request = &conn->call->request;
    conn->scanned = 0;
    conn->in_body = false;
    http_stream_set_deadline(conn->stream, 0);
    http_stream_add(conn->stream, request->data, request->len);
}

/* Idle connections stand in front. */
static struct client_conn *idle_conn(const struct client_host *host)
{
    return host->conns && !host->conns->call ? host->conns : NULL;
}

static void conn_take(struct client_conn *conn, struct client_call *call)
{
    struct client_host *host = conn->host;
    conn->call = call;
    call->conn = conn;
    DL_DELETE(host->conns, conn);
    DL_APPEND(host->conns, conn);
    conn_send(conn);
}

static void conn_rest(struct client_conn *conn)
{
    struct client_host *host = conn->host;
    struct http_client *client = host->client;
    conn->used_before = true;
    DL_DELETE(host->conns, conn);
    DL_PREPEND(host->conns, conn);
    http_stream_set_deadline(conn->stream, loop_now_ms(client->loop) + client->conf.idle_ms);
}

/* ---- hosts ---- */

static struct client_host *host_get(struct http_client *client, const char *address)
{
    struct client_host *host = NULL;
    HASH_FIND_STR(client->hosts, address, host);
    if (!host) {
        size_t size = strlen(address) + 1;
        host = mem_zalloc(sizeof(*host) + size);
        host->client = client;
        memcpy(host->address, address, size);
        HASH_ADD_STR(client->hosts, address, host);
    }
    return host;
}

static bool has_room(const struct client_host *host)
{
    return host->conn_count < host->client->conf.per_host_max;
}

static void place(struct client_host *host, struct client_call *call)
{
    struct client_conn *conn = idle_conn(host);
    if (conn) {
        conn_take(conn, call);
    } else if (has_room(host)) {
        conn_open(host, call);
    } else {
        line_add(host, call);
    }
}

/* After anything ended: gives the line its chance, forgets a host that has nothing any more. */
static void host_settle(struct client_host *host)
{
    while (host->line && (idle_conn(host) || has_room(host))) {
        struct client_call *call = host->line;
        line_remove(host, call);
        place(host, call);
    }
    if (!host->conns && !host->line) {
        HASH_DEL(host->client->hosts, host);
        loop_defer_free(host->client->loop, host, free);
    }
}

/* ---- ends ---- */

/* Takes the call off its connection, which is kept or closed, and completes it. */
static void finish(struct client_conn *conn, bool keep, enum err err, const char *why)
{
    struct client_call *call = conn->call;
    struct client_host *host = conn->host;
    conn->call = NULL;
    call->conn = NULL;
    if (keep) {
        conn_rest(conn);
    } else {
        conn_close(conn);
    }
    host_settle(host);
    complete(call, err, why);
}

static void on_call_late(void *arg)
{
    struct client_call *call = arg;
    if (call->conn) {
        bool connecting = call->conn->dial != NULL;
        finish(call->conn, false, ERR_TIMEOUT,
               connecting ? "deadline passed while connecting" : "no answer by the deadline");
        return;
    }
    line_remove(call->host, call);
    complete(call, ERR_TIMEOUT, "deadline passed while waiting for a connection");
}

static void on_dialled(void *arg, enum err err, int fd, const char *why)
{
    struct client_conn *conn = arg;
    conn->dial = NULL;
    if (err) { /* a connect that took too long is no late answer */
        finish(conn, false, err == ERR_TIMEOUT ? ERR_CONNECT : err, why);
        return;
    }
    conn->stream = http_stream_new(conn->host->client->loop, fd, &conn_events, conn);
    conn_send(conn);
}

/* ---- answers ---- */

static void fail(struct client_conn *conn, enum err err, const char *what)
{
    struct client_call *call = conn->call;
    snprintf(call->why, sizeof(call->why), "%s", what);
    finish(conn, false, err, call->why);
}

/* Takes a parsed head in. False when the call has ended with it. */
static bool begin_body(struct client_conn *conn)
{
    struct client_call *call = conn->call;
    if (call->head.status == 101) {
        fail(conn, ERR_PROTOCOL, "the answer switches protocols");
        return false;
    }
    if (call->head.status < 200) { /* the real answer is still to come */
        http_head_fini(&call->head);
        return true;
    }
    if (http_body_init(&call->body, &call->head, conn->host->client->conf.body_max) != ERR_OK) {
        fail(conn, ERR_LIMIT, "the body of the answer is too large");
        return false;
    }
    conn->in_body = true;
    return true;
}

/* The two below return whether to go on at once. */
static bool read_head(struct client_conn *conn)
{
    struct client_call *call = conn->call;
    struct buf *in = &conn->stream->in;
    size_t len = 0;
    const char *why = "a line of the answer does not end in CR LF";
    enum err err = http_head_find(buf_slice(in), &conn->scanned, &len);
    if ((err ? in->len : len) > ANSWER_HEAD_MAX) {
        fail(conn, ERR_LIMIT, "the head of the answer is too large");
        return false;
    }
    if (err == ERR_UNAVAILABLE) {
        return false;
    }
    if (!err) {
        free(call->head_bytes);
        call->head_bytes = mem_dup(in->data, len);
        buf_drop_front(in, len);
        conn->scanned = 0;
        err = http_response_parse(call->head_bytes, len, call->to_head, &call->head, &why)
                  ? ERR_PROTOCOL
                  : ERR_OK;
    }
    if (err) {
        fail(conn, ERR_PROTOCOL, why);
        return false;
    }
    return begin_body(conn);
}

static bool read_body(struct client_conn *conn)
{
    struct client_call *call = conn->call;
    struct buf *in = &conn->stream->in;
    struct slice left = buf_slice(in);
    enum err err = http_body_feed(&call->body, &left);
    buf_drop_front(in, in->len - left.len);
    if (err == ERR_OK) {
        bool clean = in->len == 0 && http_stream_unsent(conn->stream) == 0;
        finish(conn, call->head.keep_alive && clean, ERR_OK, NULL);
    } else if (err == ERR_LIMIT) {
        fail(conn, err, "the body of the answer is too large");
    } else if (err != ERR_UNAVAILABLE) {
        fail(conn, ERR_PROTOCOL, "the chunked body of the answer is malformed");
    }
    return false;
}

static void drop_idle(struct client_conn *conn)
{
    struct client_host *host = conn->host;
    conn_close(conn);
    host_settle(host);
}

static void on_bytes(void *arg)
{
    struct client_conn *conn = arg;
    if (!conn->call) { /* nobody has asked: what is this about? */
        drop_idle(conn);
        return;
    }
    conn->used_before = false; /* from here on the connection has proved alive */
    while (conn->in_body ? read_body(conn) : read_head(conn)) {
    }
}

static void on_drained(void *arg)
{
    (void)arg;
}

/* The other side may close a kept-alive connection just when we use it again. */
static void try_again(struct client_conn *conn)
{
    struct client_host *host = conn->host;
    struct client_call *call = conn->call;
    call->tried_again = true;
    conn->call = NULL;
    conn_close(conn);
    conn_open(host, call);
}

static void on_ended(void *arg, const char *why)
{
    struct client_conn *conn = arg;
    struct client_call *call = conn->call;
    if (!call) {
        drop_idle(conn);
    } else if (conn->in_body && call->body.framing == HTTP_BODY_TO_CLOSE && !why) {
        finish(conn, false, ERR_OK, NULL);
    } else if (conn->used_before && !call->tried_again) {
        try_again(conn);
    } else {
        bool some = conn->in_body || conn->stream->in.len > 0;
        snprintf(call->why, sizeof(call->why), "connection closed %s%s%s",
                 some ? "in the middle of the answer" : "before any answer", why ? ": " : "",
                 why ? why : "");
        finish(conn, false, ERR_CLOSED, call->why);
    }
}

/* Only idle connections have a deadline of their own. */
static void on_late(void *arg)
{
    struct client_conn *conn = arg;
    if (!conn->call) {
        drop_idle(conn);
    }
}

static const struct http_stream_events conn_events = {
    .bytes = on_bytes, .drained = on_drained, .ended = on_ended, .late = on_late};

/* ---- the client ---- */

struct http_client *http_client_new(struct loop *loop, const struct http_client_conf *conf)
{
    check(conf->per_host_max > 0);
    struct http_client *client = mem_new(struct http_client);
    client->loop = loop;
    client->conf = *conf;
    return client;
}

static void cancel(struct client_call *call)
{
    complete(call, ERR_CANCELLED, "the client is closing");
}

/* Ends one thing of the host at a time, because each callback may look around. */
static void host_close_one(struct client_host *host)
{
    struct client_call *call = NULL;
    if (host->line) {
        call = host->line;
        line_remove(host, call);
    } else if (host->conns) {
        call = host->conns->call;
        conn_close(host->conns);
    } else {
        HASH_DEL(host->client->hosts, host);
        loop_defer_free(host->client->loop, host, free);
    }
    if (call) {
        cancel(call);
    }
}

void http_client_free(struct http_client *client)
{
    client->closing = true;
    while (client->hosts) {
        host_close_one(client->hosts);
    }
    loop_defer_free(client->loop, client, free);
}

static enum err refuse_busy(struct http_client *client, const char *address, struct reason *reason)
{
    struct client_host *host = NULL;
    HASH_FIND_STR(client->hosts, address, host);
    bool full =
        host && !idle_conn(host) && !has_room(host) && host->waiting >= client->conf.waiting_max;
    return full ? reason_set(reason, ERR_BUSY, "%d calls wait for %s already", host->waiting,
                             address)
                : ERR_OK;
}

enum err http_client_call(struct http_client *client, const struct http_call *call,
                          http_answer_cb cb, void *arg, struct reason *reason)
{
    if (client->closing) {
        return reason_set(reason, ERR_CANCELLED, "the client is closing");
    }
    struct buf request = {0};
    struct http_url url;
    char address[ADDRESS_TEXT_SIZE];
    enum err err = http_url_parse(call->url, &url, reason);
    err = err ? err : http_url_address(&url, address, reason);
    err = err ? err : refuse_busy(client, address, reason);
    err = err ? err : http_call_format(call, &url, &request, reason);
    if (err) {
        buf_fini(&request);
        return err;
    }
    struct client_call *mine = mem_new(struct client_call);
    mine->host = host_get(client, address);
    mine->request = request;
    mine->to_head = call->method == HTTP_HEAD;
    mine->cb = cb;
    mine->arg = arg;
    loop_timer_init(&mine->timer, client->loop, on_call_late, mine);
    loop_timer_set(&mine->timer, call->deadline_ms);
    place(mine->host, mine);
    return ERR_OK;
}
