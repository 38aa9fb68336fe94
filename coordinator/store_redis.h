/*
 * The ports store and archive over the Lua scripts of lua/coordinator. One script per call; calls
 * of one loop turn leave in one write (redis.h).
 *
 * All callbacks come exactly once, never from inside the call. How errors of Redis become a
 * store_status: REFUSED when nothing was done (the server refused, no connection, too many in
 * line, an error reply, a record that cannot be read), UNKNOWN when the answer is missing.
 */
#ifndef COORDINATOR_STORE_REDIS_H
#define COORDINATOR_STORE_REDIS_H

#include "base/buf.h"
#include "coordinator/archive.h"
#include "coordinator/store.h"
#include "net/loop.h"
#include "redis/redis.h"

struct store_redis;

enum { STORE_ROUNDS_MAX = 10, STORE_OWNER_MAX = 128 };

struct store_redis_conf {
    const char *owner; /* names this coordinator among all, STORE_OWNER_MAX bytes at most; copied */
    int partitions;
    int64_t retention_ms; /* time to live of finished transactions */
    int64_t timeout_ms;   /* deadline of each command */
};

struct store_redis *store_redis_new(struct loop *loop, struct redis *redis,
                                    const struct store_redis_conf *conf);
/* For what finishes from now on; what has finished expires when it was told to. */
void store_redis_tune(struct store_redis *store, int64_t retention_ms);
/* Only when nothing is in flight: after redis_close and the end of that turn. */
void store_redis_free(struct store_redis *store);
struct store *store_redis_port(struct store_redis *store);
/* One page looks at STORE_ROUNDS_MAX times its limit of records at most: a filter that matches
 * little gives short pages. */
struct archive *store_redis_archive(struct store_redis *store);
/* Redis' time as of the last answer, moved on by the local clock; 0 before the first answer. */
int64_t store_redis_now_ms(const struct store_redis *store);

/* Fixes the number of partitions at the first start of all and compares it later. ERR_CONFLICT:
 * Redis has another one; `text` tells what to do. Other errors: Redis did not answer. */
typedef void (*store_start_cb)(void *arg, enum err err, const char *text);
void store_redis_start(struct store_redis *store, store_start_cb cb, void *arg);

/* ---- housekeeping ---- */

/* One step through the lists of a partition, 64 members of each: forgets recent transactions whose
 * record has expired, and parked ones whose record is gone or has ended. `more`: there is reason to
 * go on at once. */
typedef void (*store_trim_cb)(void *arg, enum err err, int64_t forgotten, bool more);
void store_redis_trim(struct store_redis *store, int partition, store_trim_cb cb, void *arg);

/* The commands that show a transaction: adds "redis-cli HGETALL 'saga:{3}:tx:…'" and so on, a line
 * each, quoted for a shell. */
void store_redis_add_commands(const struct store_redis *store, struct slice gid, struct buf *out);

#endif
