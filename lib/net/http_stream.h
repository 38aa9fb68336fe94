/*
 * Inside of the HTTP module: a connected socket with what was read and what waits to be written.
 * What is added to `out` within one turn of the loop leaves in one write.
 */
#ifndef NET_HTTP_STREAM_H
#define NET_HTTP_STREAM_H

#include "base/buf.h"
#include "net/loop.h"

#include <event2/event_struct.h>
#include <stdbool.h>

/* None of these runs inside a function of this header. The owner may close the stream in each. */
struct http_stream_events {
    void (*bytes)(void *arg);   /* `in` has grown */
    void (*drained)(void *arg); /* `out` is written */
    /* Nothing more can be read; NULL: a proper end. Then once more with a reason when writing fails
     * later. */
    void (*ended)(void *arg, const char *why);
    void (*late)(void *arg); /* the deadline has passed */
};

struct http_stream {
    struct buf in; /* the owner takes from its front */
    struct buf out;
    size_t written; /* of `out` */
    struct loop *loop;
    int fd;
    const struct http_stream_events *events;
    void *arg;
    struct event read_event;
    struct event write_event;
    struct loop_task flush;
    struct loop_timer timer;
    int64_t deadline_ms; /* 0: none */
    bool held;           /* the owner wants no bytes now */
    bool paused;         /* and so the read event is off */
    bool write_broken;   /* the peer takes nothing more; reading tells the end */
    bool ended;          /* nothing more can be read */
    bool closed;
};

/* Takes the descriptor. */
struct http_stream *http_stream_new(struct loop *loop, int fd,
                                    const struct http_stream_events *events, void *arg);
void http_stream_close(struct http_stream *stream); /* no event comes after this */
void http_stream_add(struct http_stream *stream, const void *data, size_t n);
size_t http_stream_unsent(const struct http_stream *stream);
void http_stream_hold(struct http_stream *stream, bool hold);
void http_stream_set_deadline(struct http_stream *stream, int64_t at_ms);
void http_stream_end(struct http_stream *stream); /* tells the peer that nothing more comes */

#endif
