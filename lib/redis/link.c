#include "redis/link.h"

#include "base/check.h"
#include "base/mem.h"
#include "redis/reader.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_SIZE = 16 * 1024,
    READS_PER_EVENT = 16,       /* then others of this turn get their chance */
    OUT_KEPT_MAX = 1024 * 1024, /* memory of the empty buffer */
};

struct redis_link {
    struct loop *loop;
    struct redis_link_events events;
    void *arg;
    int fd; /* -1: closed */
    struct event *readable;
    struct event *writable;
    bool waits_to_write;
    struct loop_task flush;
    struct buf out;
    size_t sent; /* bytes at the front of `out` */
    struct reader *reader;
    int64_t heard_ms;
    char why[256];
};

static void link_free(void *arg)
{
    struct redis_link *link = arg;
    reader_free(link->reader);
    buf_fini(&link->out);
    free(link);
}

void redis_link_close(struct redis_link *link)
{
    check(link->fd >= 0);
    event_free(link->readable);
    event_free(link->writable);
    close(link->fd);
    link->fd = -1;
    loop_undefer(link->loop, &link->flush);
    /* This may run below the link's own callback, which still looks at it. */
    loop_defer_free(link->loop, link, link_free);
}

static void link_fail(struct redis_link *link, const char *what, const char *why)
{
    snprintf(link->why, sizeof(link->why), "%s%s", what, why);
    redis_link_close(link);
    link->events.closed(link->arg, link->why);
}

/* Hands the complete replies out; false when the link was closed meanwhile. */
static bool take_replies(struct redis_link *link)
{
    const struct redis_value *value;
    enum err err = ERR_OK;
    while (link->fd >= 0 && (err = reader_next(link->reader, &value)) == ERR_OK) {
        link->events.reply(link->arg, value);
    }
    if (link->fd >= 0 && err == ERR_PROTOCOL) {
        link_fail(link, "protocol error: ", reader_error(link->reader));
    }
    return link->fd >= 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *link = arg;
    char bytes[READ_SIZE];
    (void)what;
    for (int i = 0; i < READS_PER_EVENT; i++) {
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            link_fail(link, n == 0 ? "closed by the server" : strerror(errno), "");
            return;
        }
        link->heard_ms = loop_now_ms(link->loop);
        reader_feed(link->reader, slice_make(bytes, (size_t)n));
        if (!take_replies(link) || (size_t)n < sizeof(bytes)) {
            return;
        }
    }
}

static void out_trim(struct redis_link *link)
{
    if (link->sent == link->out.len) {
        link->sent = 0;
        buf_clear(&link->out);
        if (link->out.cap > OUT_KEPT_MAX) {
            buf_fini(&link->out);
        }
    } else if (link->sent > link->out.len / 2) {
        buf_drop_front(&link->out, link->sent);
        link->sent = 0;
    }
}

static void link_flush(void *arg)
{
    struct redis_link *link = arg;
    size_t left = link->out.len - link->sent;
    if (link->waits_to_write || left == 0) {
        return;
    }
    ssize_t n = send(link->fd, link->out.data + link->sent, left, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        link_fail(link, strerror(errno), "");
        return;
    }
    link->sent += n > 0 ? (size_t)n : 0;
    out_trim(link);
    if (link->sent < link->out.len) {
        link->waits_to_write = true;
        check(event_add(link->writable, NULL) == 0);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *link = arg;
    (void)fd, (void)what;
    link->waits_to_write = false;
    link_flush(link);
}

struct redis_link *redis_link_open(struct loop *loop, int fd,
                                   const struct redis_link_events *events, void *arg)
{
    struct redis_link *link = mem_new(struct redis_link);
    link->loop = loop;
    link->events = *events;
    link->arg = arg;
    link->fd = fd;
    link->heard_ms = loop_now_ms(loop);
    link->reader = reader_new();
    link->readable = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable, link);
    link->writable = event_new(loop_base(loop), fd, EV_WRITE, on_writable, link);
    check(link->readable && link->writable);
    check(event_add(link->readable, NULL) == 0);
    return link;
}

struct buf *redis_link_out(struct redis_link *link)
{
    loop_defer_last(link->loop, &link->flush, link_flush, link);
    return &link->out;
}

int64_t redis_link_heard_ms(const struct redis_link *link)
{
    return link->heard_ms;
}
