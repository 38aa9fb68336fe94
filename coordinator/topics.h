/*
 * The topics in Redis, and what this process knows of them: read anew every TOPICS_POLL_MS when
 * they have changed, so that a change reaches all coordinators within a second. Whoever changes
 * them here sees it at once: the script answers with all of them.
 *
 * Callbacks come exactly once, never from inside the call.
 */
#ifndef COORDINATOR_TOPICS_H
#define COORDINATOR_TOPICS_H

#include "coordinator/topic_book.h"
#include "net/loop.h"
#include "redis/redis.h"

enum {
    TOPICS_POLL_MS = 500,
    TOPICS_STALE_MS = 5000, /* what is older than this is not used any more */
};

struct topics;

/* Begins to read at once; `timeout_ms` is the deadline of each command. */
struct topics *topics_open(struct loop *loop, struct redis *redis, int64_t timeout_ms);
/* Only when nothing is in flight: after redis_close and the end of that turn. */
void topics_free(struct topics *topics);

/* Valid until the loop goes on. NULL: not read yet, or read too long ago. */
const struct topic_book *topics_book(const struct topics *topics);

/* ERR_OK: done, and topics_book shows it. ERR_CONFLICT: this url exists. ERR_NOT_FOUND: no such
 * topic or url. ERR_LIMIT: too many. Anything else: Redis did not answer; whether it was done is
 * unknown. The text, DTM's where it has one, is valid during the callback. */
typedef void (*topics_cb)(void *arg, enum err err, const char *message);

/* Reads them now. */
void topics_refresh(struct topics *topics, topics_cb cb, void *arg);
/* The arguments must have been checked (topic_book.h). */
void topics_subscribe(struct topics *topics, struct slice topic, struct slice url,
                      struct slice remark, topics_cb cb, void *arg);
void topics_unsubscribe(struct topics *topics, struct slice topic, struct slice url, topics_cb cb,
                        void *arg);
void topics_delete(struct topics *topics, struct slice topic, topics_cb cb, void *arg);

#endif
