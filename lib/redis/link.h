/*
 * One connected socket to Redis: bytes of commands out, replies in. Two events of the loop's
 * libevent; a new link for each connection.
 *
 * hiredis' own asynchronous layer is not used: 0.14 and 1.x both abort the process (assert) when
 * the server sends a reply that nobody asked for, and both copy and allocate for each command.
 */
#ifndef REDIS_LINK_H
#define REDIS_LINK_H

#include "base/buf.h"
#include "net/loop.h"
#include "redis/redis.h"

struct redis_link;

struct redis_link_events {
    /* The next reply, which may be an error; valid during the call. */
    void (*reply)(void *arg, const struct redis_value *value);
    /* The connection ended: exactly once, unless redis_link_close was called. The link is gone. */
    void (*closed)(void *arg, const char *why);
};

/* Owns `fd` from now on. No event comes from inside a call of this interface. */
struct redis_link *redis_link_open(struct loop *loop, int fd,
                                   const struct redis_link_events *events, void *arg);
void redis_link_close(struct redis_link *link); /* no event after this */
/* Append to it what shall be sent: it leaves when the turn ends, in one write. */
struct buf *redis_link_out(struct redis_link *link);
int64_t redis_link_heard_ms(const struct redis_link *link); /* when the last byte came in */

#endif
