/*
 *            call                opened + hello
 *   IDLE ----------> CONNECTING ----------------> READY
 *    ^                   | refused, closed,         | closed, broken reply
 *    |                   | no hello in time         |
 *    +---- back off -----+                          |
 *    +----------------------------------------------+
 *
 * Our hello and the first requests are queued while connecting and leave in one write. A request
 * fails with ERR_CONNECT only as long as the connection was never open.
 */
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/rpc.h"
#include "wire/rpc_calls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { BACKOFF_FIRST_MS = 20, BACKOFF_MOST_MS = 1000 };

struct rpc_client {
    struct loop *loop;
    char *address;
    char *program;
    char *token;
    int64_t connect_timeout_ms;
    struct rpc_limits limits;

    struct conn *conn; /* NULL: idle */
    bool opened;       /* requests may have reached the peer */
    bool ready;        /* the peer's hello has come */
    bool closing;
    int64_t hello_due_ms;
    int64_t retry_at_ms; /* no connecting before this */
    int64_t backoff_ms;  /* of the next failure; 0: the first */
    char why[320];       /* why the last connection ended, or a reply could not be read */

    struct rpc_calls calls;
    struct loop_timer timer;
    struct loop_task end;
    struct buf out;
};

static void on_timer(void *arg);

struct rpc_client *rpc_client_new(struct loop *loop, const struct rpc_client_conf *conf)
{
    check(conf->limits.in_flight_max > 0 && conf->limits.frame_max >= RPC_FRAME_LEAST);
    struct rpc_client *client = mem_new(struct rpc_client);
    client->loop = loop;
    client->address = mem_strdup(conf->address);
    client->program = mem_strdup(conf->program);
    client->token = mem_strdup(conf->token);
    client->connect_timeout_ms = conf->connect_timeout_ms;
    client->limits = conf->limits;
    loop_timer_init(&client->timer, loop, on_timer, client);
    return client;
}

static void client_free(void *ptr)
{
    struct rpc_client *client = ptr;
    calls_fini(&client->calls);
    buf_fini(&client->out);
    free(client->address);
    free(client->program);
    free(client->token);
    free(client);
}

static void on_end(void *arg)
{
    struct rpc_client *client = arg;
    calls_fail_all(&client->calls, ERR_CANCELLED, "the client was closed");
    calls_tell_failed(&client->calls);
    loop_defer_free(client->loop, client, client_free);
}

void rpc_client_free(struct rpc_client *client)
{
    check(!client->closing);
    client->closing = true;
    loop_timer_clear(&client->timer);
    if (client->conn) {
        conn_close(client->conn, false);
        client->conn = NULL;
    }
    client->opened = false;
    client->ready = false;
    loop_defer(client->loop, &client->end, on_end, client);
}

/* ---- time: one timer for all deadlines; it may fire early, then it is set again ---- */

static int64_t next_due_ms(const struct rpc_client *client)
{
    if (client->calls.failed_first) {
        return loop_now_ms(client->loop);
    }
    const struct rpc_call *first = calls_first(&client->calls);
    int64_t due = first ? first->deadline.at : INT64_MAX;
    bool awaits_hello = client->opened && !client->ready;
    return awaits_hello && client->hello_due_ms < due ? client->hello_due_ms : due;
}

static void timer_update(struct rpc_client *client)
{
    int64_t due = next_due_ms(client);
    if (!client->closing && due < INT64_MAX &&
        (!client->timer.armed || due < client->timer.at_ms)) {
        loop_timer_set(&client->timer, due);
    }
}

/* ---- the end of a connection ---- */

static void back_off(struct rpc_client *client)
{
    client->backoff_ms = client->backoff_ms ? client->backoff_ms * 2 : BACKOFF_FIRST_MS;
    client->backoff_ms =
        client->backoff_ms > BACKOFF_MOST_MS ? BACKOFF_MOST_MS : client->backoff_ms;
    client->retry_at_ms = loop_now_ms(client->loop) + client->backoff_ms;
}

/* The conn is gone or closed already. */
static void disconnected(struct rpc_client *client, enum err err, const char *why)
{
    log_debug("rpc", "msg=\"connection ended\" addr=%s why=\"%s\"", client->address, why);
    snprintf(client->why, sizeof(client->why), "%s", why);
    client->conn = NULL;
    if (!client->ready) {
        back_off(client);
    }
    client->opened = false;
    client->ready = false;
    calls_fail_all(&client->calls, err, client->why);
    calls_tell_failed(&client->calls);
    timer_update(client);
}

static void disconnect(struct rpc_client *client, enum err err, const char *why)
{
    conn_close(client->conn, false);
    disconnected(client, err, why);
}

static void on_closed(void *arg, enum err err, const char *why)
{
    (void)err;
    struct rpc_client *client = arg;
    disconnected(client, client->opened ? ERR_CLOSED : ERR_CONNECT, why);
}

static void on_timer(void *arg)
{
    struct rpc_client *client = arg;
    int64_t now = loop_now_ms(client->loop);
    for (struct rpc_call *call = calls_first(&client->calls); call && call->deadline.at <= now;
         call = calls_first(&client->calls)) {
        calls_fail(&client->calls, call, ERR_TIMEOUT, "no reply within the deadline");
    }
    calls_tell_failed(&client->calls);
    if (client->opened && !client->ready && client->hello_due_ms <= now) {
        disconnect(client, ERR_CLOSED, "no hello in time");
    }
    timer_update(client);
}

/* ---- what comes in ---- */

static void on_opened(void *arg)
{
    struct rpc_client *client = arg;
    client->opened = true;
    client->hello_due_ms = loop_now_ms(client->loop) + client->limits.handshake_ms;
    timer_update(client);
}

/* An error that concerns the connection: the peer is closing it. */
static void on_refusal(struct rpc_client *client, const struct wire_error *error)
{
    char text[200];
    slice_printable(error->message, text, sizeof(text));
    enum err err = client->ready                      ? ERR_CLOSED
                   : error->code == WIRE_ERROR_DENIED ? ERR_DENIED
                   : error->code == WIRE_ERROR_BUSY   ? ERR_CONNECT
                                                      : ERR_PROTOCOL;
    disconnect(client, err, text);
}

static void on_hello(struct rpc_client *client, const struct wire_message *message)
{
    if (message->kind != WIRE_HELLO || message->hello.version != WIRE_VERSION) {
        disconnect(client, ERR_PROTOCOL, "the peer's first frame is not a hello of version 1");
        return;
    }
    client->ready = true;
    client->backoff_ms = 0;
    client->retry_at_ms = 0;
}

static void on_message(struct rpc_client *client, const struct wire_message *message)
{
    if (message->kind == WIRE_ERROR && message->id == 0) {
        on_refusal(client, &message->error);
    } else if (!client->ready) {
        on_hello(client, message);
    } else {
        struct rpc_call *call = calls_find(&client->calls, message->id);
        if (call) { /* else: came after its deadline */
            calls_complete(&client->calls, call, message);
        }
    }
}

/* One reply that cannot be read spoils its own call; bytes that are no frame spoil everything. */
static void on_bad_frame(struct rpc_client *client, enum err err, uint64_t id, const char *why)
{
    struct rpc_call *call = err == ERR_INVALID ? calls_find(&client->calls, id) : NULL;
    if (client->ready && call) {
        snprintf(client->why, sizeof(client->why), "bad reply: %s", why);
        calls_fail(&client->calls, call, ERR_PROTOCOL, client->why);
        calls_tell_failed(&client->calls);
    } else if (!client->ready || err != ERR_INVALID) {
        disconnect(client, client->ready ? ERR_CLOSED : ERR_PROTOCOL, why);
    }
}

static void on_frame(void *arg, struct slice bytes)
{
    struct rpc_client *client = arg;
    struct wire_message message;
    struct reason reason = {""};
    enum err err = wire_decode(bytes, &message, &reason);
    if (err == ERR_OK) {
        on_message(client, &message);
    } else {
        on_bad_frame(client, err, message.id, reason.text);
    }
    wire_message_fini(&message);
}

/* ---- what goes out ---- */

static const struct conn_events client_events = {
    .opened = on_opened, .frame = on_frame, .closed = on_closed};

/* The conn itself never stops reading because of what waits to be written (rpc_client_call refuses
 * instead): two sides that both wait for the other to read would stand still. */
static void client_connect(struct rpc_client *client)
{
    struct conn_limits limits = {.frame_max = client->limits.frame_max, .out_high = SIZE_MAX / 2};
    client->conn = conn_connect(client->loop, client->address, client->connect_timeout_ms, &limits,
                                &client_events, client);
    struct wire_message hello = {
        .kind = WIRE_HELLO,
        .hello = {WIRE_VERSION, slice_str(client->program), slice_str(client->token)},
    };
    buf_clear(&client->out);
    wire_encode(&client->out, &hello);
    conn_send_framed(client->conn, buf_slice(&client->out));
}

/* ERR_OK: there is a connection that takes the frame in client->out. */
static enum err can_call(struct rpc_client *client, const char **why)
{
    if (calls_waiting(&client->calls) > (size_t)client->limits.in_flight_max) {
        *why = "too many calls in flight";
        return ERR_BUSY;
    }
    if (!client->conn && loop_now_ms(client->loop) < client->retry_at_ms) {
        *why = client->why;
        return ERR_CONNECT;
    }
    if (client->conn && conn_unsent(client->conn) > client->limits.out_high) {
        *why = "the peer takes what is sent too slowly";
        return ERR_BUSY;
    }
    return ERR_OK;
}

static enum err send_request(struct rpc_client *client, const struct wire_message *request,
                             uint64_t id, const char **why)
{
    enum err err = can_call(client, why);
    if (err != ERR_OK) {
        return err;
    }
    if (!client->conn) {
        client_connect(client);
    }
    struct wire_message copy = *request;
    copy.id = id;
    buf_clear(&client->out);
    wire_encode(&client->out, &copy);
    if (client->out.len > client->limits.frame_max) {
        *why = "the request is longer than a frame may be";
        return ERR_LIMIT;
    }
    conn_send_framed(client->conn, buf_slice(&client->out));
    return ERR_OK;
}

void rpc_client_call(struct rpc_client *client, const struct wire_message *request,
                     int64_t deadline_ms, rpc_reply_cb cb, void *arg)
{
    check(!client->closing);
    struct rpc_call *call = calls_add(&client->calls, cb, arg, deadline_ms);
    const char *why = "";
    enum err err = send_request(client, request, call->id, &why);
    if (err != ERR_OK) {
        calls_fail(&client->calls, call, err, why);
    }
    timer_update(client);
}

int rpc_client_in_flight(const struct rpc_client *client)
{
    return (int)calls_waiting(&client->calls);
}

bool rpc_client_is_connected(const struct rpc_client *client)
{
    return client->ready;
}
