/*
 * On plain events, not on libevent's bufferevent: that one reads at most 4 KB per call, asks the
 * kernel for the number of waiting bytes first, and writes only after another turn of the loop and
 * two changes of the epoll set. Here a turn's frames leave in one write at the end of the turn.
 */
#include "net/conn.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "net/conn_internal.h"
#include "net/dial.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_MIN = 16 * 1024,
    READ_MAX = 256 * 1024,
    KEEP_MAX = QUOTA_FREE / 2, /* a larger buffer is not kept when it is nearly empty: it counts */
    STALL_MS = 30 * 1000,
    FLUSH_MS = 5 * 1000,  /* conn_close(flush): to write what is left */
    LINGER_MS = 1 * 1000, /* then: for the peer to see the end */
    LAST_READS_MAX = 64,
};

enum conn_state {
    CONN_DIALLING,  /* no socket yet */
    CONN_OPEN,      /* the normal state */
    CONN_ENDING,    /* inside the callback `closed` */
    CONN_LINGERING, /* nobody owns it: writes what is left, then waits for the peer's end */
    CONN_DEAD,      /* memory goes at the end of the turn */
};

struct conn {
    struct loop *loop;
    enum conn_state state;
    bool owned;        /* false: not yet given events */
    bool abandoned;    /* conn_close was called: no event any more */
    bool clogged;      /* too much waits to be written */
    bool held;         /* by the owner */
    bool paused;       /* nothing is read */
    bool blocked;      /* the socket took no more: waits for `writable` */
    bool write_failed; /* nothing can be written any more */
    int fd;
    struct conn_limits limits;
    struct conn_events events;
    void *arg;
    struct conn_listener *listener; /* NULL: client side */
    struct admission_pass pass;     /* of the listener */
    struct quota_share share;
    struct dial *dial;
    struct event readable;
    struct event writable;
    struct loop_task flush;
    struct loop_task resume;
    struct loop_task reap;
    struct loop_timer timer;
    int64_t last_read_ms;
    int64_t last_write_ms;
    int64_t linger_until_ms;
    size_t read_size;
    struct buf in;
    struct buf out;
    size_t out_sent; /* bytes at the front of `out` that are written already */
    char *peer;
};

/* ---- life ---- */

static void on_timer(void *arg);

static struct conn *conn_new(struct loop *loop, const struct conn_limits *limits, const char *peer)
{
    check(limits->out_high > 0);
    struct conn *conn = mem_new(struct conn);
    conn->loop = loop;
    conn->fd = -1;
    conn->limits = *limits;
    conn->share.quota = limits->quota;
    conn->limits.stall_ms = limits->stall_ms > 0 ? limits->stall_ms : STALL_MS;
    conn->peer = mem_strdup(peer);
    conn->read_size = READ_MIN;
    loop_timer_init(&conn->timer, loop, on_timer, conn);
    return conn;
}

static void conn_free(void *ptr)
{
    struct conn *conn = ptr;
    quota_set(&conn->share, 0);
    buf_fini(&conn->in);
    buf_fini(&conn->out);
    free(conn->peer);
    free(conn);
}

static void conn_destroy(void *arg)
{
    struct conn *conn = arg;
    check(conn->state != CONN_DEAD);
    conn->state = CONN_DEAD;
    if (conn->dial) {
        dial_cancel(conn->dial);
    }
    if (conn->fd >= 0) {
        event_del(&conn->readable);
        event_del(&conn->writable);
        close(conn->fd);
    }
    loop_timer_clear(&conn->timer);
    loop_undefer(conn->loop, &conn->flush);
    loop_undefer(conn->loop, &conn->resume);
    loop_undefer(conn->loop, &conn->reap);
    if (conn->listener) {
        conn_listener_release(conn->listener, &conn->pass);
    }
    loop_defer_free(conn->loop, conn, conn_free);
}

/* ---- deadlines: one timer, set late and looked at again when it fires ---- */

static int64_t next_due_ms(const struct conn *conn)
{
    if (conn->state == CONN_LINGERING) {
        return conn->linger_until_ms;
    }
    int64_t due = INT64_MAX;
    if (conn->state == CONN_OPEN && conn->limits.idle_ms > 0 && !conn->paused) {
        due = conn->last_read_ms + conn->limits.idle_ms;
    }
    if (conn->state == CONN_OPEN && conn->blocked) {
        int64_t stall = conn->last_write_ms + conn->limits.stall_ms;
        due = stall < due ? stall : due;
    }
    return due;
}

static void timer_update(struct conn *conn)
{
    int64_t due = next_due_ms(conn);
    if (due < INT64_MAX && (!conn->timer.armed || due < conn->timer.at_ms)) {
        loop_timer_set(&conn->timer, due);
    }
}

/* ---- the end ---- */

static void flush_later(struct conn *conn);

static void shutdown_write(struct conn *conn)
{
    shutdown(conn->fd, SHUT_WR);
    conn->linger_until_ms = loop_now_ms(conn->loop) + LINGER_MS;
    timer_update(conn);
}

/* Closing a socket that has unread bytes makes the kernel throw away what the peer has not read
 * yet. So: write, say that it is the end, read on until the peer has ended too. */
static void linger(struct conn *conn)
{
    conn->state = CONN_LINGERING;
    conn->linger_until_ms = loop_now_ms(conn->loop) + FLUSH_MS;
    loop_undefer(conn->loop, &conn->resume);
    check(event_add(&conn->readable, NULL) == 0);
    if (conn_unsent(conn) > 0) {
        flush_later(conn);
    } else {
        shutdown_write(conn);
    }
    timer_update(conn);
}

static void conn_fail(struct conn *conn, enum err err, const char *why)
{
    if (conn->abandoned) {
        conn_destroy(conn);
        return;
    }
    bool is_told = err == ERR_LIMIT || err == ERR_PROTOCOL || (err == ERR_BUSY && !conn->blocked);
    bool may_answer = conn->state == CONN_OPEN && !conn->write_failed && is_told;
    conn->state = CONN_ENDING;
    conn->write_failed = !may_answer;
    conn->events.closed(conn->arg, err, why);
    conn->abandoned = true;
    if (may_answer) {
        loop_at_free(conn->loop, &conn->reap, conn_destroy, conn);
        linger(conn);
    } else {
        conn_destroy(conn);
    }
}

static void on_timer(void *arg)
{
    struct conn *conn = arg;
    if (loop_now_ms(conn->loop) < next_due_ms(conn)) {
        timer_update(conn);
        return;
    }
    if (conn->state == CONN_LINGERING) {
        conn_destroy(conn);
        return;
    }
    char why[96];
    bool stalled =
        conn->blocked && loop_now_ms(conn->loop) >= conn->last_write_ms + conn->limits.stall_ms;
    snprintf(why, sizeof(why), stalled ? "took nothing for %lld ms" : "sent nothing for %lld ms",
             (long long)(stalled ? conn->limits.stall_ms : conn->limits.idle_ms));
    conn_fail(conn, ERR_TIMEOUT, why);
}

/* ---- reading ---- */

/* As read(2). */
static ssize_t read_some(struct conn *conn)
{
    char *to = buf_reserve(&conn->in, conn->read_size);
    ssize_t n = read(conn->fd, to, conn->read_size);
    if (n > 0) {
        buf_grow(&conn->in, (size_t)n);
        conn->last_read_ms = loop_now_ms(conn->loop);
        if ((size_t)n == conn->read_size && conn->read_size < READ_MAX) {
            conn->read_size *= 2;
        } else if ((size_t)n < conn->read_size / 4 && conn->read_size > READ_MIN) {
            conn->read_size /= 2;
        }
    }
    return n;
}

static void in_drop(struct conn *conn, size_t n)
{
    buf_drop_front(&conn->in, n);
    if (conn->in.cap > KEEP_MAX && conn->in.len < KEEP_MAX / 2) {
        struct buf rest = conn->in;
        conn->in = (struct buf){0};
        buf_add_slice(&conn->in, buf_slice(&rest));
        buf_fini(&rest);
    }
}

/* Whoever holds much when there is no room any more has to go. */
static void charge(struct conn *conn)
{
    if (!quota_set(&conn->share, conn->in.cap + conn->out.cap) && conn->state == CONN_OPEN) {
        conn_fail(conn, ERR_BUSY, quota_text);
    }
}

/* Hands out the frames that are there. The owner may close or clog the connection meanwhile. */
static void deliver(struct conn *conn)
{
    struct slice rest = buf_slice(&conn->in);
    struct slice frame;
    enum err err = ERR_OK;
    while (conn->state == CONN_OPEN && !conn->paused) {
        err = frame_next(&rest, conn->limits.frame_max, &frame);
        if (err != ERR_OK) {
            break;
        }
        conn->events.frame(conn->arg, frame);
    }
    if (conn->state != CONN_OPEN) {
        return;
    }
    in_drop(conn, conn->in.len - rest.len);
    if (err == ERR_LIMIT) {
        char why[96];
        snprintf(why, sizeof(why), "frame longer than %zu bytes", conn->limits.frame_max);
        conn_fail(conn, err, why);
    } else if (err == ERR_PROTOCOL) {
        conn_fail(conn, err, "frame length is not a varint of 32 bits");
    } else {
        charge(conn);
    }
}

static void on_resume(void *arg)
{
    deliver(arg);
}

/* The result of a read that gave no bytes. */
static void read_ended(struct conn *conn, ssize_t n)
{
    if (n == 0) {
        conn_fail(conn, ERR_CLOSED,
                  conn->in.len > 0 ? "peer closed in the middle of a frame" : "peer closed");
    } else if (errno != EAGAIN && errno != EINTR) {
        conn_fail(conn, ERR_CLOSED, strerror(errno));
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct conn *conn = arg;
    ssize_t n = read_some(conn);
    if (n <= 0) {
        read_ended(conn, n);
    } else if (conn->state == CONN_LINGERING) {
        buf_clear(&conn->in);
    } else {
        deliver(conn);
    }
}

/* ---- writing ---- */

size_t conn_unsent(const struct conn *conn)
{
    return conn->out.len - conn->out_sent;
}

/* Clogged above the high mark, until below half of it. */
static void update_flow(struct conn *conn)
{
    size_t mark = conn->clogged ? conn->limits.out_high / 2 : conn->limits.out_high;
    conn->clogged = conn_unsent(conn) > mark;
    bool pause = (conn->clogged && conn->listener) || conn->held;
    if (conn->state != CONN_OPEN || pause == conn->paused) {
        return;
    }
    conn->paused = pause;
    if (pause) {
        event_del(&conn->readable);
    } else {
        conn->last_read_ms = loop_now_ms(conn->loop);
        check(event_add(&conn->readable, NULL) == 0);
        loop_defer(conn->loop, &conn->resume, on_resume, conn);
        timer_update(conn);
    }
}

/* The peer may have said why it went, before it went: read that first. */
static void on_write_error(struct conn *conn, int error)
{
    conn->write_failed = true;
    conn->out_sent = 0;
    buf_clear(&conn->out);
    update_flow(conn);
    for (int i = 0; i < LAST_READS_MAX && conn->state == CONN_OPEN && read_some(conn) > 0; i++) {
        deliver(conn);
    }
    if (conn->state == CONN_OPEN || conn->state == CONN_LINGERING) {
        conn_fail(conn, ERR_CLOSED, strerror(error));
    }
}

static void set_blocked(struct conn *conn, bool blocked)
{
    if (blocked == conn->blocked) {
        return;
    }
    conn->blocked = blocked;
    if (blocked) {
        conn->last_write_ms = loop_now_ms(conn->loop);
        check(event_add(&conn->writable, NULL) == 0);
        timer_update(conn);
    } else {
        event_del(&conn->writable);
    }
}

/* Moved to the front only when that is cheap, compared with what was written. */
static void out_drop(struct conn *conn, size_t n)
{
    conn->out_sent += n;
    if (conn->out_sent == conn->out.len) {
        buf_clear(&conn->out);
        conn->out_sent = 0;
        if (conn->out.cap > KEEP_MAX) {
            buf_fini(&conn->out);
        }
    } else if (conn->out_sent > conn->out.len / 2) {
        buf_drop_front(&conn->out, conn->out_sent);
        conn->out_sent = 0;
    }
}

static void on_flush(void *arg)
{
    struct conn *conn = arg;
    size_t unsent = conn_unsent(conn);
    ssize_t n;
    do {
        n = write(conn->fd, conn->out.data + conn->out_sent, unsent);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        on_write_error(conn, errno);
        return;
    }
    if (n > 0) {
        conn->last_write_ms = loop_now_ms(conn->loop);
        out_drop(conn, (size_t)n);
    }
    set_blocked(conn, conn_unsent(conn) > 0);
    update_flow(conn);
    if (conn->state == CONN_LINGERING && conn_unsent(conn) == 0) {
        shutdown_write(conn);
    }
    charge(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    on_flush(arg);
}

/* Something was queued in this turn. */
static void on_turn_end(void *arg)
{
    struct conn *conn = arg;
    if (conn->blocked) {
        charge(conn); /* it has grown, and nothing can be written now */
    } else {
        on_flush(conn);
    }
}

static void flush_later(struct conn *conn)
{
    bool has_socket = conn->state == CONN_OPEN || conn->state == CONN_LINGERING;
    if (has_socket && conn_unsent(conn) > 0) {
        loop_defer_last(conn->loop, &conn->flush, on_turn_end, conn);
    }
}

static bool can_send(const struct conn *conn)
{
    check(!conn->abandoned);
    return !conn->write_failed;
}

void conn_send(struct conn *conn, struct slice frame)
{
    unsigned char head[FRAME_HEAD_MAX];
    if (can_send(conn)) {
        buf_add(&conn->out, head, frame_head(frame.len, head));
        buf_add_slice(&conn->out, frame);
        flush_later(conn);
        update_flow(conn);
    }
}

void conn_send_framed(struct conn *conn, struct slice bytes)
{
    if (can_send(conn)) {
        buf_add_slice(&conn->out, bytes);
        flush_later(conn);
        update_flow(conn);
    }
}

bool conn_is_clogged(const struct conn *conn)
{
    return conn->clogged;
}

void conn_hold(struct conn *conn, bool held)
{
    check(!conn->abandoned);
    conn->held = held;
    update_flow(conn);
}

/* ---- the rest of the interface ---- */

static void conn_attach(struct conn *conn, int fd)
{
    struct event_base *base = loop_base(conn->loop);
    conn->fd = fd;
    conn->state = CONN_OPEN;
    conn->last_read_ms = loop_now_ms(conn->loop);
    event_assign(&conn->readable, base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->writable, base, fd, EV_WRITE | EV_PERSIST, on_writable, conn);
    check(event_add(&conn->readable, NULL) == 0);
    timer_update(conn);
}

static void on_dialled(void *arg, enum err err, int fd, const char *why)
{
    struct conn *conn = arg;
    conn->dial = NULL;
    if (err != ERR_OK) {
        conn_fail(conn, err, why);
        return;
    }
    conn_attach(conn, fd);
    flush_later(conn);
    update_flow(conn);
    if (conn->abandoned) {
        linger(conn);
    } else if (conn->events.opened) {
        conn->events.opened(conn->arg);
    }
}

struct conn *conn_connect(struct loop *loop, const char *address, int64_t timeout_ms,
                          const struct conn_limits *limits, const struct conn_events *events,
                          void *arg)
{
    struct conn *conn = conn_new(loop, limits, address);
    conn->state = CONN_DIALLING;
    conn_set_events(conn, events, arg);
    conn->dial = dial_start(loop, address, timeout_ms, on_dialled, conn);
    return conn;
}

struct conn *conn_accept(struct loop *loop, int fd, const char *peer,
                         const struct conn_limits *limits, struct conn_listener *listener)
{
    struct conn *conn = conn_new(loop, limits, peer);
    conn->listener = listener;
    conn_attach(conn, fd);
    return conn;
}

void conn_close(struct conn *conn, bool flush)
{
    if (conn->state == CONN_ENDING) {
        return; /* inside `closed`: it goes anyway */
    }
    check(!conn->abandoned);
    conn->abandoned = true;
    conn->owned = true;
    if (!flush || conn->write_failed) {
        conn_destroy(conn);
        return;
    }
    loop_at_free(conn->loop, &conn->reap, conn_destroy, conn);
    if (conn->state == CONN_OPEN) {
        linger(conn);
    }
}

const char *conn_peer(const struct conn *conn)
{
    return conn->peer;
}

void conn_set_events(struct conn *conn, const struct conn_events *events, void *arg)
{
    check(events->frame && events->closed);
    conn->events = *events;
    conn->arg = arg;
    conn->owned = true;
}

struct admission_pass *conn_pass(struct conn *conn)
{
    return &conn->pass;
}

bool conn_has_owner(const struct conn *conn)
{
    return conn->owned;
}
