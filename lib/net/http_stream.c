#include "net/http_stream.h"

#include "base/check.h"
#include "base/mem.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_SIZE = 16384,
    READS_PER_EVENT = 4, /* so that a fast sender cannot starve the others */
    IDLE_KEEP = 16384,   /* memory that an empty buffer may keep */
};

static bool is_later(int error)
{
    return error == EAGAIN || error == EINTR; /* EWOULDBLOCK is EAGAIN on Linux */
}

/* Reads until nothing is left or the share is used up. False: the end, with a reason or NULL. */
static bool read_some(struct http_stream *stream, const char **why)
{
    char chunk[READ_SIZE];
    for (int i = 0; i < READS_PER_EVENT; i++) {
        ssize_t n = recv(stream->fd, chunk, sizeof(chunk), 0);
        if (n <= 0) {
            *why = n == 0 ? NULL : strerror(errno);
            return n < 0 && is_later(errno);
        }
        buf_add(&stream->in, chunk, (size_t)n);
        if ((size_t)n < sizeof(chunk)) {
            break;
        }
    }
    return true;
}

static void trim_idle(struct buf *buf)
{
    if (buf->len == 0 && buf->cap > IDLE_KEEP) {
        buf_fini(buf);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct http_stream *stream = arg;
    if (stream->held) {
        event_del(&stream->read_event);
        stream->paused = true;
        return;
    }
    const char *why = NULL;
    size_t before = stream->in.len;
    bool open = read_some(stream, &why);
    if (stream->in.len > before) {
        stream->events->bytes(stream->arg);
    }
    if (!open && !stream->closed && !stream->held) {
        stream->ended = true;
        event_del(&stream->read_event);
        stream->events->ended(stream->arg, why);
    }
    if (!stream->closed) {
        trim_idle(&stream->in);
    }
}

/* The write side is lost, but an answer may still wait to be read: the read side tells the end. */
static void break_writing(struct http_stream *stream, const char *why)
{
    stream->write_broken = true;
    buf_clear(&stream->out);
    stream->written = 0;
    http_stream_hold(stream, false);
    if (stream->ended) {
        stream->events->ended(stream->arg, why);
    }
}

static void on_drained(struct http_stream *stream)
{
    buf_clear(&stream->out);
    trim_idle(&stream->out);
    stream->written = 0;
    stream->events->drained(stream->arg);
}

static void flush(void *arg)
{
    struct http_stream *stream = arg;
    while (stream->written < stream->out.len) {
        ssize_t n = send(stream->fd, stream->out.data + stream->written,
                         stream->out.len - stream->written, MSG_NOSIGNAL);
        if (n < 0 && is_later(errno)) {
            check(event_add(&stream->write_event, NULL) == 0);
            return;
        }
        if (n < 0) {
            break_writing(stream, strerror(errno));
            return;
        }
        stream->written += (size_t)n;
    }
    if (stream->out.len > 0) {
        on_drained(stream);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    flush(arg);
}

/* The timer is left alone when it would fire too early, and set again when it does: requests that
 * are quick cost no timer work. */
static void on_timer(void *arg)
{
    struct http_stream *stream = arg;
    if (stream->deadline_ms == 0) {
        return;
    }
    if (loop_now_ms(stream->loop) < stream->deadline_ms) {
        loop_timer_set(&stream->timer, stream->deadline_ms);
        return;
    }
    stream->deadline_ms = 0;
    stream->events->late(stream->arg);
}

struct http_stream *http_stream_new(struct loop *loop, int fd,
                                    const struct http_stream_events *events, void *arg)
{
    struct http_stream *stream = mem_new(struct http_stream);
    struct event_base *base = loop_base(loop);
    stream->loop = loop;
    stream->fd = fd;
    stream->events = events;
    stream->arg = arg;
    loop_timer_init(&stream->timer, loop, on_timer, stream);
    check(event_assign(&stream->read_event, base, fd, EV_READ | EV_PERSIST, on_readable, stream) ==
          0);
    check(event_assign(&stream->write_event, base, fd, EV_WRITE, on_writable, stream) == 0);
    check(event_add(&stream->read_event, NULL) == 0);
    return stream;
}

static void stream_free(void *ptr)
{
    struct http_stream *stream = ptr;
    buf_fini(&stream->in);
    buf_fini(&stream->out);
    free(stream);
}

void http_stream_close(struct http_stream *stream)
{
    check(!stream->closed);
    stream->closed = true;
    event_del(&stream->read_event);
    event_del(&stream->write_event);
    loop_timer_clear(&stream->timer);
    loop_undefer(stream->loop, &stream->flush);
    close(stream->fd);
    loop_defer_free(stream->loop, stream, stream_free);
}

void http_stream_add(struct http_stream *stream, const void *data, size_t n)
{
    if (stream->write_broken) {
        return;
    }
    if (stream->written > stream->out.len / 2) {
        buf_drop_front(&stream->out, stream->written);
        stream->written = 0;
    }
    buf_add(&stream->out, data, n);
    if (!event_pending(&stream->write_event, EV_WRITE, NULL)) {
        loop_defer_last(stream->loop, &stream->flush, flush, stream);
    }
}

size_t http_stream_unsent(const struct http_stream *stream)
{
    return stream->out.len - stream->written;
}

void http_stream_hold(struct http_stream *stream, bool hold)
{
    stream->held = hold;
    if (!hold && stream->paused) {
        stream->paused = false;
        check(event_add(&stream->read_event, NULL) == 0);
    }
}

void http_stream_set_deadline(struct http_stream *stream, int64_t at_ms)
{
    stream->deadline_ms = at_ms;
    if (at_ms != 0 && (!loop_timer_is_armed(&stream->timer) || stream->timer.at_ms > at_ms)) {
        loop_timer_set(&stream->timer, at_ms);
    }
}

void http_stream_end(struct http_stream *stream)
{
    shutdown(stream->fd, SHUT_WR);
}
